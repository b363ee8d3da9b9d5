package wrapper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseCommand(t *testing.T) {
	const (
		id   = "c64fc18de15508b72e121f91fd50e462229a27cd90a46e305d75b34a099532ee"
		shim = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/" + id
		moby = "--root /run/docker/runtime-runc/moby --log " + shim + "/log.json --log-format json "
		k8s  = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" + id
		user = "/var/lib/containers/storage/overlay-containers/" + id + "/userdata"
	)
	tests := []struct{ name, args, command, config string }{
		{"dockerd", moby + "create --bundle " + shim + " --pid-file " + shim + "/init.pid " + id, "create", shim + "/config.json"},
		{"dockerd with systemd's cgroups", moby + "--systemd-cgroup create --bundle " + shim + " --pid-file " + shim + "/init.pid " + id,
			"create", shim + "/config.json"},
		{"dockerd starts", moby + "start " + id, "start", "config.json"},
		{"dockerd deletes", moby + "delete --force " + id, "delete", "config.json"},
		{"dockerd kills", moby + "kill " + id + " 9", "kill", "config.json"},
		{"dockerd's exec", moby + "exec --process /tmp/runc-process1 --detach --pid-file " + shim + "/1.pid " + id, "exec", "config.json"},
		{"containerd with a terminal", "--root /run/containerd/runc/k8s.io --log " + k8s + "/log.json --log-format json create --bundle " + k8s +
			" --pid-file " + k8s + "/init.pid --console-socket /tmp/pty1/pty.sock --no-pivot " + id, "create", k8s + "/config.json"},
		{"podman", "create --bundle " + user + " --pid-file " + user + "/pidfile " + id, "create", user + "/config.json"},
		{"conmon", "--log-format=json --log " + user + "/oci-log --systemd-cgroup create --bundle " + user + " --pid-file " + user +
			"/pidfile " + id, "create", user + "/config.json"},
		{"conmon of CRI-O", "--root=/run/runc --systemd-cgroup create --bundle " + user + " --pid-file " + user + "/pidfile " + id,
			"create", user + "/config.json"},
		{"conmon asks", "--root=/run/runc state " + id, "state", "config.json"},

		{"short options", "run -d -b /b box", "run", "/b/config.json"},
		{"crun's short option with its value", "run -b/b box", "run", "/b/config.json"},
		{"crun's short options in one", "run -db /b box", "run", "/b/config.json"},
		{"one dash", "run -bundle /b box", "run", "/b/config.json"},
		{"one dash, joined", "run -bundle=/b box", "run", "/b/config.json"},
		{"joined", "run --bundle=/b box", "run", "/b/config.json"},
		{"joined with an =", "run --bundle=/b=c box", "run", "/b=c/config.json"},
		{"the last one counts", "run --bundle /a -b /b box", "run", "/b/config.json"},
		{"an option after the id", "run box --bundle /b", "run", "/b/config.json"},
		{"a relative bundle", "create --bundle ../b box", "create", "../b/config.json"},
		{"no bundle", "create box", "create", "config.json"},
		{"all of runc's options", "--debug --criu /x --rootless auto run --keep --no-subreaper --no-new-keyring --preserve-fds 3 " +
			"--pidfd-socket /y --console-socket /z -b /b box", "run", "/b/config.json"},

		{"crun: an absolute configuration", "--cgroup-manager cgroupfs --log-level debug create --config /c.json --bundle /b box", "create", "/c.json"},
		{"crun: a relative one is the bundle's", "run -f c.json -b /b box", "run", "/b/c.json"},
		{"crun: joined", "--rootless=1 run --config=c.json box", "run", "c.json"},

		{"exec of a program that is called create", "exec box create --bundle /x", "exec", "/x/config.json"},
		{"-- before the id", "run --bundle /b -- --bundle", "run", "/b/config.json"},
		{"-- ends the options", "run -- box --bundle /b", "run", "config.json"},
		{"-- before the command", "-- create --bundle /b box", "create", "/b/config.json"},
		{"a value that looks like an option", "create --pid-file --bundle --bundle /b box", "create", "/b/config.json"},
		{"a global value that looks like an option", "--log --root create --bundle /b box", "create", "/b/config.json"},
		{"a value that looks like a command", "--log run create --bundle /b box", "create", "/b/config.json"},
		{"a value that is --", "create --pid-file -- --bundle /b box", "create", "/b/config.json"},
		{"an empty joined value", "--root= create --bundle /b box", "create", "/b/config.json"},
		{"an option without its value", "create --bundle", "create", "config.json"},
		{"a global option without its value", "--root", "", "config.json"},
		{"a dash", "create - box", "create", "config.json"},

		{"version", "--version", "", "config.json"},
		{"nothing", "", "", "config.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := ParseCommand(strings.Fields(tt.args))
			if c.Name != tt.command || c.ConfigFile() != tt.config {
				t.Errorf("got %q and %q, want %q and %q", c.Name, c.ConfigFile(), tt.command, tt.config)
			}
			if starts := tt.command == "create" || tt.command == "run"; c.Starts() != starts {
				t.Errorf("Starts: got %v", c.Starts())
			}
		})
	}
	if c := ParseCommand([]string{"create", "--bundle", "", ""}); c.ConfigFile() != "config.json" {
		t.Errorf("empty arguments: got %q", c.ConfigFile())
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add("--root /r --log=x create --bundle /b --pid-file p -- id")
	f.Add("run -d -b - --config")
	f.Add("-- - --= =")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		if c := ParseCommand(args); c.Name != "" && !slices.Contains(args, c.Name) {
			t.Errorf("%q: got the command %q and %q", args, c.Name, c.ConfigFile())
		}
	})
}

// TestParseCommandID finds the container's id and the log file among the arguments.
func TestParseCommandID(t *testing.T) {
	for _, tt := range []struct{ args, id, bundle, log string }{
		{"create --bundle /b --pid-file /b/pid box", "box", "/b", ""},
		{"--root /r --log /l.json --log-format json create --bundle /b box", "box", "/b", "/l.json"},
		{"--log=/l run box --bundle /b", "box", "/b", "/l"},
		{"run -db/b box", "box", "/b", ""},
		{"delete --force box", "box", ".", ""},
		{"run -b /b", "", "/b", ""},
		{"run", "", ".", ""},
		{"--version", "", ".", ""},
		{"", "", ".", ""},
	} {
		c := ParseCommand(strings.Fields(tt.args))
		if c.ID != tt.id || c.Bundle() != tt.bundle || c.log != tt.log {
			t.Errorf("%q: id %q, bundle %q, log %q; want %q, %q, %q", tt.args, c.ID, c.Bundle(), c.log, tt.id, tt.bundle, tt.log)
		}
	}
}

// TestLogError writes errors where engines look for them, once as text and once as JSON.
func TestLogError(t *testing.T) {
	for format, want := range map[string]string{"": "level=error msg=\"a \\\"b\\\"\"\n", "json": `"level":"error","msg":"a \"b\""}` + "\n"} {
		file := filepath.Join(t.TempDir(), "log")
		c := ParseCommand([]string{"--log", file, "--log-format", format, "run", "x"})
		c.LogError(errors.New(`a "b"`))
		if text, err := os.ReadFile(file); err != nil || !strings.HasSuffix(string(text), want) {
			t.Errorf("%q: %s (%v), want %s", format, text, err, want)
		}
	}
	c := ParseCommand([]string{"--log", "/no/such/directory/log", "run", "x"})
	c.LogError(errors.New("no reader sees it"))
}

// TestLogErrorElsewhere uses logs that are not regular files: nothing is written, and LogError does
// not wait for a reader.
func TestLogErrorElsewhere(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unread, full := filepath.Join(dir, "unread"), filepath.Join(dir, "full")
	link := filepath.Join(dir, "link")
	err := errors.Join(syscall.Mkfifo(unread, 0o600), syscall.Mkfifo(full, 0o600), os.Symlink(kept, link))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(full, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.SetWriteDeadline(time.Now().Add(time.Second / 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the FIFO takes a mebibyte: %v", err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		for _, log := range []string{unread, full, link, "/dev/null", dir} {
			c := ParseCommand([]string{"--log", log, "run", "x"})
			c.LogError(errors.New("a"))
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for a log")
	}
	if text, err := os.ReadFile(kept); err != nil || len(text) > 0 {
		t.Errorf("by a symbolic link the log gets %q (%v)", text, err)
	}
}

// TestLogErrorLong checks that a long error is truncated.
func TestLogErrorLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	c := ParseCommand([]string{"--log", file, "run", "x"})
	c.LogError(errors.New(strings.Repeat("é", 1<<20)))
	if info, err := os.Stat(file); err != nil || info.Size() > 2*maxLogged {
		t.Errorf("the log: %v (%v)", info, err)
	}
}
