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

// withPrograms gives a container the programs of this machine, below /usr.
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

// TestCopies copies files with programs that go by their size.
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
					continue // this kernel does not have it
				}
				script := "rm -f /tmp/copy; " + copies.script + " && cat /tmp/copy"
				before := inside(t, c, "/usr/bin/cat", file)
				got := inside(t, c, "/usr/bin/timeout", "20", "sh", "-c", script, file)
				after := inside(t, c, "/usr/bin/cat", file)
				if n := len(got); n != len(before) && n != len(after) || strings.Trim(got, "\x00") != got {
					t.Errorf("%s: got %q, want the length of %q or %q", file, got, before, after)
				}
			}
		})
	}
	length := strconv.Itoa(len(inside(t, c, "cat", "/proc/meminfo")))
	if got := inside(t, c, "sh", "-c", "/usr/bin/wc -c </proc/meminfo"); got != length+"\n" {
		t.Errorf("wc counts %s, want %s", got, length)
	}
}

// TestSizes opens, stats and reads files in containers whose texts differ in length, all at once
// and with several threads. They share inodes.
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

// TestSizeSurvives kills the worker between fstat(2) and the first read.
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
		t.Errorf("%d bytes and %v, want %d", len(text), err, info.Size())
	}
}

// TestRequests counts what a read costs: no more than open, read to the end and close. Access
// rights are checked without a request of their own.
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
	read() // the kernel looks up the names
	before := d.scrape(t).Value("palisade_lxcfs_requests_total", "")
	for range rounds {
		read()
	}
	after := d.scrape(t).Value("palisade_lxcfs_requests_total", "")
	// The daemon's supervisor and the scrapes send some, too.
	if got := after - before; got < 3*rounds || got > 3*rounds+rounds/2 {
		t.Errorf("%v requests for %d times open, read and close", got, rounds)
	}
}

// TestModes accesses the files as a user other than root, without capabilities: the modes hold.
func TestModes(t *testing.T) {
	d := newDaemon(t, filepath.Join(shared.dir, "modes")) // t.TempDir is closed to others
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
		{"test $(cat proc/slabinfo | wc -l) = 2", true}, // the header: the host's is for its root
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
		t.Errorf("the host's root reads %d lines of slabinfo", n)
	}
	if os.Getenv("PALISADE_VM") != "" {
		return // its setpriv is busybox's
	}
	out, err := exec.Command("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
		"--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
		"cat", filepath.Join(d.Mountpoint, "status")).CombinedOutput()
	if err != nil {
		t.Errorf("with CAP_DAC_READ_SEARCH: %v: %s", err, out)
	}
}
