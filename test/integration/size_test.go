//go:build integration

package integration

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// withPrograms mounts this machine's programs in a container, below /usr.
func withPrograms(t *testing.T, o ctr.Options) ctr.Options {
	t.Helper()
	if os.Getenv("PALISADE_VM") != "" {
		t.Skip("the virtual machine has no node, python3 and rsync")
	}
	for _, dir := range []string{"/usr", "/lib", "/lib64"} {
		o.Mounts = append(o.Mounts, specs.Mount{
			Destination: dir, Type: "bind", Source: dir, Options: []string{"rbind", "ro"},
		})
	}
	return o
}

// TestCopies checks copies of files by programs that rely on st_size.
func TestCopies(t *testing.T) {
	c := start(t, withPrograms(t, ctr.Options{Memory: limit, CPUs: "0"}))
	for _, copies := range []struct{ name, script string }{
		{"node", `/usr/bin/node -e 'require("fs").copyFileSync(process.argv[1], "/tmp/copy")' $0`},
		{"node's promises", `/usr/bin/node -e '
			require("fs").promises.copyFile(process.argv[1], "/tmp/copy")' $0`},
		{"rsync", `/usr/bin/rsync $0 /tmp/copy`},
		{"tar", `cd / && /usr/bin/tar cf /tmp/tar ${0#/} && /usr/bin/tar xOf /tmp/tar >/tmp/copy`},
		{"tarfile", `cd / && /usr/bin/python3 -c 'import sys, tarfile
with tarfile.open("/tmp/tar", "w") as tar: tar.add(sys.argv[1])' ${0#/} &&
			/usr/bin/tar xOf /tmp/tar >/tmp/copy`},
		{"shutil", `/usr/bin/python3 -c 'import sys, shutil; shutil.copy(sys.argv[1], "/tmp/copy")' $0`},
		{"cp", `/usr/bin/cp $0 /tmp/copy`},
		{"dd", `/usr/bin/dd if=$0 of=/tmp/copy status=none`},
		{"cat", `/usr/bin/cat $0 >/tmp/copy`},
		{"tail", `/usr/bin/tail -n +1 $0 >/tmp/copy`},
		{"busybox cat", `/bin/busybox cat $0 >/tmp/copy`},
		{"sendfile", `/bin/load sendfile $0 >/tmp/copy`},
	} {
		t.Run(copies.name, func(t *testing.T) {
			for _, name := range []string{"uptime", "meminfo", "cpuinfo", "partitions", "pressure/memory"} {
				file := "/proc/" + name
				if _, err := os.Stat(file); err != nil {
					continue // not on this kernel
				}
				script := "rm -f /tmp/copy; " + copies.script + " && cat /tmp/copy"
				before := inside(t, c, "/usr/bin/cat", file)
				got := inside(t, c, "/usr/bin/timeout", "20", "sh", "-c", script, file)
				after := inside(t, c, "/usr/bin/cat", file)
				shortest, longest := min(len(before), len(after)), max(len(before), len(after))
				if n := len(got); n < shortest || n > longest || strings.Trim(got, "\x00") != got {
					t.Errorf("%s: got %q, want a length from that of %q to that of %q", file, got, before, after)
				}
			}
		})
	}
	length := strconv.Itoa(len(inside(t, c, "cat", "/proc/meminfo")))
	if got := inside(t, c, "sh", "-c", "/usr/bin/wc -c </proc/meminfo"); got != length+"\n" {
		t.Errorf("wc counts %s, want %s", got, length)
	}
}

// TestSizes checks st_size of files with different lengths in containers, which share their inodes,
// with concurrent readers.
func TestSizes(t *testing.T) {
	args := []string{"load", "sizes", "50"}
	for _, name := range []string{"uptime", "stat", "loadavg", "cpuinfo", "diskstats"} {
		args = append(args, ctr.MountDir+"/proc/"+name)
	}
	var wg sync.WaitGroup
	for i, cpus := range []string{"0", "0", ""} {
		c := start(t, ctr.Options{Memory: limit, CPUs: cpus})
		wg.Go(func() {
			if out, err := c.Exec(t.Context(), args...); err != nil {
				t.Errorf("container %d: %v: %s", i, err, out)
			}
		})
	}
	wg.Wait()
}

// TestSizeSurvives checks that st_size holds after a crash of the worker before the first read.
func TestSizeSurvives(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	f, err := os.Open(filepath.Join(d.Mountpoint, "proc/stat"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	killWorker(t, d)
	text, err := io.ReadAll(f)
	if err != nil || int64(len(text)) != info.Size() {
		t.Errorf("got %d bytes, %v, want %d", len(text), err, info.Size())
	}
}

// TestRequests checks that reading a file costs only the requests for open, read and close, none
// for access checks.
func TestRequests(t *testing.T) {
	const rounds = 500
	d := newMeasured(t, t.TempDir())
	path := filepath.Join(d.Mountpoint, "proc/meminfo")
	text := make([]byte, 1<<16)
	read := func() {
		fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fd)
		if n, err := syscall.Read(fd, text); n <= 0 || err != nil {
			t.Fatalf("read %s: %d, %v", path, n, err)
		}
	}
	read() // looks up the names
	before := d.scrape(t).Value("palisade_lxcfs_requests_total", "")
	for range rounds {
		read()
	}
	after := d.scrape(t).Value("palisade_lxcfs_requests_total", "")
	// The supervisor and the scrapes also send requests.
	if got := after - before; got < 3*rounds || got > 3*rounds+rounds/2 {
		t.Errorf("got %v requests for %d times open, read and close", got, rounds)
	}
}

// TestModes checks the permissions of an unprivileged user.
func TestModes(t *testing.T) {
	d := newDaemon(t, filepath.Join(shared.dir, "modes")) // other users cannot enter t.TempDir
	as := func(args ...string) (string, error) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = d.Mountpoint
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, tt := range []struct {
		script string
		ok     bool
	}{
		{"cat proc/meminfo", true},
		{"test -r proc/meminfo", true},
		{"test -w proc/meminfo", false},
		{"test -x proc/meminfo", false},
		{"test -x proc && cd proc && cat uptime", true},
		{"echo x >proc/meminfo", false},
		{"test -r proc/slabinfo", true},
		{"test $(cat proc/slabinfo | wc -l) = 2", true}, // only the header
		{"test $(stat -c %s proc/slabinfo) = $(cat proc/slabinfo | wc -c)", true},
		{"cat sys/devices/system/cpu/online", true},
		{"test -r sys/devices/system/cpu/online", true},
		{"test -w sys/devices/system/cpu/online", false},
		{"cat status", false},
		{"touch proc/new", false},
		{"mkdir proc/new", false},
		{"rm -f proc/meminfo", false},
		{"ln proc/meminfo proc/new", false},
		{"mv proc/meminfo proc/new", false},
		{"chmod 777 proc/meminfo", false},
	} {
		if out, err := as("sh", "-c", tt.script); (err == nil) != tt.ok {
			t.Errorf("%s: %v: %s", tt.script, err, out)
		} else if strings.Contains(out, "not implemented") {
			t.Errorf("%s: %s", tt.script, out)
		}
	}
	if n := strings.Count(hostFile(t, filepath.Join(d.Mountpoint, "proc/slabinfo")), "\n"); n < 3 {
		t.Errorf("the host's root reads %d lines of slabinfo, want at least 3", n)
	}
	if os.Getenv("PALISADE_VM") != "" {
		return // busybox's setpriv lacks the options
	}
	out, err := exec.Command("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
		"--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
		"cat", filepath.Join(d.Mountpoint, "status")).CombinedOutput()
	if err != nil {
		t.Errorf("with CAP_DAC_READ_SEARCH: %v: %s", err, out)
	}
}
