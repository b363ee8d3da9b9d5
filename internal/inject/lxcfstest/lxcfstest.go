// Package lxcfstest serves a file system that looks like lxcfs to the packages that mount its
// files, and starts processes in mount namespaces of their own. It is for tests in testns.
package lxcfstest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Serve mounts the file system on dir until the end of the test. Its server is this process.
func Serve(t testing.TB, dir string) {
	t.Helper()
	if err := Mount(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH|syscall.MNT_FORCE) })
}

// Mount mounts the file system on dir.
func Mount(dir string) error {
	_, err := fs.Mount(dir, &root{}, &fs.Options{MountOptions: fuse.MountOptions{
		Name: "lxcfs", FsName: "lxcfs", DirectMountStrict: true,
	}})
	return err
}

type root struct{ fs.Inode }

func (r *root) OnAdd(ctx context.Context) {
	fill(ctx, &r.Inode)
	dir := r.NewPersistentInode(ctx, &private{}, fs.StableAttr{Mode: syscall.S_IFDIR})
	r.AddChild("private", dir, false)
}

// private has a tree of any name.
type private struct{ fs.Inode }

func (p *private) Lookup(
	ctx context.Context, _ string, _ *fuse.EntryOut,
) (*fs.Inode, syscall.Errno) {
	tree := p.NewPersistentInode(ctx, &fs.Inode{}, fs.StableAttr{Mode: syscall.S_IFDIR})
	fill(ctx, tree)
	return tree, 0
}

func fill(ctx context.Context, tree *fs.Inode) {
	status := fmt.Sprintf(`{"pid":%d,"version":"test"}`, os.Getpid())
	for file, text := range map[string]string{
		"status": status, "proc/uptime": "1.00 1.00\n", "proc/meminfo": "MemTotal: 1 kB\n",
		"sys/devices/system/cpu/online": "0\n",
	} {
		dir, parts := tree, strings.Split(file, "/")
		name := parts[len(parts)-1]
		for _, part := range parts[:len(parts)-1] {
			child := dir.GetChild(part)
			if child == nil {
				child = dir.NewPersistentInode(ctx, &fs.Inode{}, fs.StableAttr{Mode: syscall.S_IFDIR})
				dir.AddChild(part, child, false)
			}
			dir = child
		}
		data := &fs.MemRegularFile{Data: []byte(text), Attr: fuse.Attr{Mode: 0o444}}
		dir.AddChild(name, dir.NewPersistentInode(ctx, data, fs.StableAttr{}), false)
	}
}

// Start starts a process in a mount namespace of its own that runs the shell script, and returns
// its pid once it has done so. The process ends with the test.
func Start(t testing.TB, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "set -e; "+script+"; echo; exec sleep 1000")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return cmd.Process.Pid
}
