//go:build integration

package toolkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/test/engine"
)

// directory is proc of an lxcfs that falls silent when it is listed, or when its file meminfo is looked for.
type directory struct {
	fs.Inode
	listing, finding <-chan struct{}
}

func (f *directory) Opendir(context.Context) syscall.Errno {
	<-f.listing
	return 0
}

func (f *directory) Lookup(_ context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child := f.GetChild(name)
	if child == nil {
		return nil, syscall.ENOENT
	}
	if name == "meminfo" {
		<-f.finding
	}
	out.Mode = syscall.S_IFREG | 0o444
	return child, 0
}

// TestServerFallsSilent looks at an lxcfs that does not answer all questions: no command waits for it longer than its timeout.
func TestServerFallsSilent(t *testing.T) {
	answers := make(chan struct{})
	close(answers)
	for _, tt := range []struct {
		name             string
		listing, finding bool // whether it answers
		want             probe.State
	}{
		{"it answers", true, true, probe.Healthy},
		{"its files are not listed", false, true, probe.Wedged},
		// The types in the listing are enough to be found healthy.
		{"a file is not found", true, false, probe.Healthy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proc := &directory{listing: answers, finding: answers}
			letGo := make(chan struct{})
			if !tt.listing {
				proc.listing = letGo
			}
			if !tt.finding {
				proc.finding = letGo
			}
			mountpoint := serve(t, proc)
			t.Cleanup(func() { close(letGo) })

			found, err := probe.Look(t.Context(), mountpoint, 500*time.Millisecond)
			if err != nil || found.State != tt.want {
				t.Fatalf("it is found %s, %v; want %s", found.State, err, tt.want)
			}
			if tt.want == probe.Healthy && !slices.Equal(found.Files, []string{"proc/meminfo", "proc/uptime"}) {
				t.Errorf("it has %q", found.Files)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			src, err := mounts.OpenSource(ctx, mountpoint, found.Device, []string{"proc/uptime", "proc/meminfo"})
			switch {
			case err == nil:
				src.Close()
				if !tt.finding {
					t.Error("a file that is not found was opened")
				}
			case tt.finding || !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("open its files: %v", err)
			}
		})
	}
}

// TestWhilePID runs a command for a server that ends, though its mount stays: the command does so, though a question that the server had
// taken keeps the one who asked it for ever. One that nothing happens to ends as ever.
func TestWhilePID(t *testing.T) {
	h := newHost(t)
	letGo := make(chan struct{})
	h.mountpoint = serve(t, &directory{listing: letGo, finding: letGo})
	t.Cleanup(func() { close(letGo) })
	server := exec.Command("sleep", "1")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(shared.toolkit, h.args("--while-pid", fmt.Sprint(server.Process.Pid), "remount", "--all", "--timeout", "1h")...)
	cmd.Stdout, cmd.Stderr = log, log // files: those of the process that is left behind stay open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	server.Wait() // it is not killed
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	engine.WaitFor(t, "the command ends", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	text, err := os.ReadFile(log.Name())
	if want := fmt.Sprintf("lxcfs-toolkit: process %d has ended\n", server.Process.Pid); cmd.ProcessState.ExitCode() != 1 || err != nil ||
		string(text) != want {
		t.Errorf("%v, %q, %v; want %q", cmd.ProcessState, text, err, want)
	}
	while := []string{"--while-pid", fmt.Sprint(os.Getpid())}
	if r := h.run(t, "", append(while, "hook-spec", "podman")...); r.Code != 0 || r.Stderr != "" || r.Stdout == "" {
		t.Errorf("hook-spec: %+v", r)
	}
	if r := h.run(t, "", append(while, "hook-spec", "now")...); r.Code != 2 || r.Stdout != "" {
		t.Errorf("a mistake: %+v", r)
	}
}

// serve mounts an lxcfs with the directory, until the test ends.
func serve(t *testing.T, proc *directory) (mountpoint string) {
	t.Helper()
	mountpoint = t.TempDir()
	root := new(fs.Inode)
	server, err := fs.Mount(mountpoint, root, &fs.Options{
		MountOptions: fuse.MountOptions{Name: "lxcfs", FsName: "lxcfs", DirectMountStrict: true, DisableReadDirPlus: true,
			DisableSplice: true},
		OnAdd: func(ctx context.Context) {
			file := func(text string) *fs.Inode {
				return root.NewPersistentInode(ctx, &fs.MemRegularFile{Data: []byte(text)}, fs.StableAttr{})
			}
			root.AddChild("status", file(`{"pid":1}`), false)
			dir := root.NewPersistentInode(ctx, proc, fs.StableAttr{Mode: syscall.S_IFDIR})
			root.AddChild("proc", dir, false)
			dir.AddChild("uptime", file("1 1\n"), false)
			dir.AddChild("meminfo", file("MemTotal: 1 kB\n"), false)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return mountpoint
}
