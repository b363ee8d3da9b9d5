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

// directory is the proc directory of an lxcfs that hangs when it is listed or when meminfo is
// looked up.
type directory struct {
	fs.Inode
	listing, lookup <-chan struct{}
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
		<-f.lookup
	}
	out.Mode = syscall.S_IFREG | 0o444
	return child, 0
}

// TestServerFallsSilent checks that nothing waits longer than its timeout for an lxcfs that does
// not answer all requests.
func TestServerFallsSilent(t *testing.T) {
	answers := make(chan struct{})
	close(answers)
	for _, tt := range []struct {
		name            string
		listing, lookup bool // whether it answers
		want            probe.State
	}{
		{"healthy", true, true, probe.Healthy},
		{"no listing", false, true, probe.Wedged},
		// The file types in the listing suffice for Healthy.
		{"no lookup", true, false, probe.Healthy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proc := &directory{listing: answers, lookup: answers}
			release := make(chan struct{})
			if !tt.listing {
				proc.listing = release
			}
			if !tt.lookup {
				proc.lookup = release
			}
			mountpoint := serve(t, proc)
			t.Cleanup(func() { close(release) })

			// A call that must succeed has much time, for a busy machine.
			timeout := map[bool]time.Duration{true: 30 * time.Second, false: 500 * time.Millisecond}
			found, err := probe.Look(t.Context(), mountpoint, timeout[tt.listing])
			if err != nil || found.State != tt.want {
				t.Fatalf("got state %s, %v, want %s", found.State, err, tt.want)
			}
			if tt.want == probe.Healthy && !slices.Equal(found.Files, []string{"proc/meminfo", "proc/uptime"}) {
				t.Errorf("got files %q", found.Files)
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout[tt.lookup])
			defer cancel()
			src, err := mounts.OpenSource(ctx, mountpoint, found.Device, []string{"proc/uptime", "proc/meminfo"})
			switch {
			case err == nil:
				src.Close()
				if !tt.lookup {
					t.Error("OpenSource succeeded without lookups")
				}
			case tt.lookup || !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("OpenSource: %v", err)
			}
		})
	}
}

// TestWhilePID checks that a command with --while-pid ends when the server has exited, although its
// mount remains and a thread of the command waits for it, and that the option otherwise has no
// effect.
func TestWhilePID(t *testing.T) {
	h := newHost(t)
	release := make(chan struct{})
	h.mountpoint = serve(t, &directory{listing: release, lookup: release})
	t.Cleanup(func() { close(release) })
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
	cmd.Stdout, cmd.Stderr = log, log // files, as a process left behind keeps them open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	server.Wait()
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	engine.WaitFor(t, "the command to end", func() bool {
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
		t.Errorf("hook-spec of an unknown engine: %+v", r)
	}
}

// serve mounts an lxcfs with the directory until the test ends.
func serve(t *testing.T, proc *directory) (mountpoint string) {
	t.Helper()
	mountpoint = t.TempDir()
	root := new(fs.Inode)
	server, err := fs.Mount(mountpoint, root, &fs.Options{
		MountOptions: fuse.MountOptions{
			Name: "lxcfs", FsName: "lxcfs", DirectMountStrict: true, DisableReadDirPlus: true,
			DisableSplice: true, // go-fuse keeps the pipes open
		},
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
