//go:build integration

package toolkit

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// hungDir is a directory that contains itself as d, and whose look-ups can hang.
type hungDir struct {
	fs.Inode
	isHung  *atomic.Bool
	answers <-chan struct{}
}

func (d *hungDir) Lookup(
	ctx context.Context, name string, _ *fuse.EntryOut,
) (*fs.Inode, syscall.Errno) {
	if d.isHung.Load() {
		<-d.answers
	}
	if name != "d" {
		return nil, syscall.ENOENT
	}
	child := &hungDir{isHung: d.isHung, answers: d.answers}
	return d.NewInode(ctx, child, fs.StableAttr{Mode: syscall.S_IFDIR}), 0
}

// TestHungFileSystem checks that umount ends if a mount of lxcfs in a container is below a hanging
// file system. A process that waits for it cannot be killed.
func TestHungFileSystem(t *testing.T) {
	h := newHost(t)
	h.start(t)
	answers, isHung, never := make(chan struct{}), new(atomic.Bool), time.Duration(0)
	dir := t.TempDir()
	server, err := fs.Mount(dir, &hungDir{isHung: isHung, answers: answers}, &fs.Options{
		EntryTimeout: &never, MountOptions: fuse.MountOptions{
			Name: "hung", DirectMountStrict: true, DisableSplice: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(answers)
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	startShell(t, "exec unshare -m sh -c 'mount -o bind "+h.mountpoint+" "+dir+"/d/d && "+
		"mount -o bind "+h.mountpoint+"/proc/uptime /proc/uptime && echo ready; exec sleep 1000000'")
	isHung.Store(true)
	started := time.Now()
	r := h.run(t, "", "umount", "--all")
	if r.Code != 1 || !strings.Contains(r.Stdout, "timed out") {
		t.Errorf("umount: %+v", r)
	}
	if d := time.Since(started); d > 30*time.Second {
		t.Errorf("umount took %v, want at most 30s", d)
	}
}

// TestSlowTable checks that the commands skip a mount namespace with so many stacked mounts that
// the kernel needs seconds to list them.
func TestSlowTable(t *testing.T) {
	h := newHost(t)
	h.start(t)
	dir, sleeper := t.TempDir(), exec.Command("sleep", "1000000")
	var err error
	onOwnThread(func() {
		if err = syscall.Unshare(syscall.CLONE_NEWNS); err == nil {
			err = syscall.Mount("none", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, "")
		}
		for n := 0; n < 16000 && err == nil; n++ {
			err = syscall.Mount(dir, dir, "", syscall.MS_BIND, "")
		}
		if err == nil {
			err = sleeper.Start()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sleeper.Process.Kill()
		sleeper.Wait()
	})
	for _, command := range []string{"list", "umount --all", "remount --all"} {
		started := time.Now()
		r := h.run(t, "", strings.Fields(command)...)
		if d := time.Since(started); d > 30*time.Second {
			t.Errorf("%s took %v, want at most 30s", command, d)
		}
		if !strings.Contains(r.Stderr, "read the mount table for 1s") {
			t.Errorf("%s: %+v", command, r)
		}
	}
}

// onOwnThread runs do on a thread that ends afterwards, so not on the main thread.
func onOwnThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if syscall.Gettid() == syscall.Getpid() {
			onOwnThread(do)
			runtime.UnlockOSThread()
			return
		}
		do()
	}()
	<-done
}
