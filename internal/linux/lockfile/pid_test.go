package lockfile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/lockfile"
)

func TestOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, []byte("12345678 of one that is gone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := own(t, path)
	want := fmt.Sprintf("process %d holds %s already", os.Getpid(), path)
	if _, err := lockfile.Own(path); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second owner: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	own(t, path).Close()
}

// own owns the file, and looks whether it has the pid, and is closed to others.
func own(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := lockfile.Own(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("the file has %q, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if files, err := filepath.Glob(path + "*"); err != nil || len(files) != 1 {
		t.Errorf("there are %q, %v", files, err)
	}
	return f
}

// TestOwnOpenToOthers owns files that other users can open and have locked, unless a process of
// this program holds them.
func TestOwnOpenToOthers(t *testing.T) {
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stranger.Process.Kill()
		stranger.Wait() // it was killed
	}()
	for name, text := range map[string]string{
		"empty": "", "no pid": "-1\n", "ended": "2147483647\n", "of this process": fmt.Sprintln(os.Getpid()), "of another program": fmt.Sprintln(stranger.Process.Pid),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pid")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			other, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
				t.Fatal(err)
			}
			own(t, path).Close()
		})
	}
}

// holdMark is the environment variable with the file that this program is to hold, as an older
// version did, until its stdin ends.
const holdMark = "LOCKFILE_TEST_HOLD"

func TestMain(m *testing.M) {
	path := os.Getenv(holdMark)
	if path == "" {
		os.Exit(m.Run())
	}
	f, err := lockfile.Own(path)
	if err == nil {
		err = f.Chmod(0o644)
	}
	fmt.Println(err)
	io.Copy(io.Discard, os.Stdin)
}

// TestOwnHeldByOlder fails for a file that other users can open, if another process of this program
// holds it.
func TestOwnHeldByOlder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	older := exec.Command(self)
	older.Env = append(os.Environ(), holdMark+"="+path)
	stdin, err := older.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := older.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := older.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "<nil>\n" {
		t.Errorf("it says %q, %v", line, err)
	}
	want := fmt.Sprintf("process %d holds %s already", older.Process.Pid, path)
	if _, err := lockfile.Own(path); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second owner: %v", err)
	}
	stdin.Close()
	if err := older.Wait(); err != nil {
		t.Error(err)
	}
	own(t, path).Close()
}

// TestRemove lets several goroutines own a file and remove it at once: one at a time has it, and
// none removes the next one's.
func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	var owners, owned atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				p, err := lockfile.OwnPIDFile(path)
				if err != nil {
					continue
				}
				owned.Add(1)
				if n := owners.Add(1); n != 1 {
					t.Errorf("%d own it", n)
				}
				if _, err := os.Stat(path); err != nil {
					t.Errorf("an owner's file: %v", err)
				}
				owners.Add(-1)
				p.Remove()
			}
		})
	}
	wg.Wait()
	if _, err := os.Stat(path); err == nil || owned.Load() == 0 {
		t.Errorf("owned %d times; the file that is left: %v", owned.Load(), err)
	}
}

// TestRestore removes and renames the file of a process repeatedly: it is restored, locked.
func TestRestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	p, err := lockfile.OwnPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if i%2 == 0 {
			err = os.Remove(path)
		} else {
			err = os.Rename(path, path+".old")
		}
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if text, err := os.ReadFile(path); err == nil && string(text) == fmt.Sprintln(os.Getpid()) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the file is not restored")
			}
		}
		if _, err := lockfile.Own(path); err == nil {
			t.Fatal("the restored file is not locked")
		}
	}
	p.Remove()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestRemoveOfAnother replaces an owned file by another process's, which Remove leaves alone.
func TestRemoveOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	p, err := lockfile.OwnPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := own(t, path+".next")
	defer next.Close()
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
	p.Remove()
	if text, err := os.ReadFile(path); err != nil || len(text) == 0 {
		t.Errorf("%q, %v", text, err)
	}
}

// TestOtherLocks tries a file that another process has locked as the C version of lxcfs does, and
// one that older versions of this program have locked, by flock(2) alone.
func TestOtherLocks(t *testing.T) {
	for name, lock := range map[string]func(*os.File) error{
		"fcntl": func(f *os.File) error {
			return syscall.FcntlFlock(f.Fd(), fOFDSetlk, &syscall.Flock_t{Type: syscall.F_WRLCK})
		},
		"flock": func(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pid")
			if err := os.WriteFile(path, []byte("4242\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := lock(f); err != nil {
				t.Fatal(err)
			}
			want := "process 4242 holds " + path
			if _, err := lockfile.Own(path); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			f.Close()
			own(t, path).Close()
		})
	}
}

// fOFDSetlk is F_OFD_SETLK. A lock of F_SETLK would be this process's, and no hindrance to it.
const fOFDSetlk = 37
