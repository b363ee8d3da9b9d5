//go:build integration

package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"palisade/test/ctr"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attackTime is the minimum duration of an attack, which has at least three rounds.
const attackTime = 3 * time.Second

// TestSwapRace checks that nothing outside a tree changes when it is shifted and unshifted while a
// process of its owner swaps directories for links to a directory outside, moves them, and creates
// hard links to and from outside.
func TestSwapRace(t *testing.T) {
	for _, name := range []string{"tmpfs", "ext4"} {
		if inVM() && name != "tmpfs" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := named(name).newDir(t)
			openToAll(t, dir)
			root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
			build(t, root, true, attackedTree())
			build(t, outside, true, []item{
				directory(".", 0o755, 0, 0), directory("etc", 0o755, 0, 0), file("etc/passwd", 0o644, 0, 0),
				file("etc/root", 0o4755, 0, 0),
				file("etc/other", 0o644, 100005, 100005), file("etc/user", 0o644, 5, 5),
				directory("etc/d", 0o755, 100001, 100001),
			})
			before := takeDump(t, outside, true)
			own := filepath.Join(dir, "own") // the attacker may link files of it
			build(t, own, true, []item{directory(".", 0o700, 100000, 100000),
				file("suid", 0o4755, 100000, 100000)})
			shiftTree(t, root)
			stop := startAttacker(t, "attacker", filepath.Join(root, "work"), dir)
			rounds := 0
			for deadline := time.Now().Add(attackTime); rounds < 3 || time.Now().Before(deadline); rounds++ {
				for _, line := range [][]string{plus(back, "--keep-setid"), toRemap} {
					options := []string{line[0], "--force", "--hardlinks", "fail"}
					r := call(t, append(options, append(line[3:], root)...)...)
					if r.code > 1 || r.code == 1 && strings.Count(r.stderr, "\n") != 1 {
						t.Fatalf("%q: %+v", line, r)
					}
				}
				if text := diff(takeDump(t, outside, true), before); text != "" {
					t.Fatalf("round %d changed files outside:\n%s", rounds, text)
				}
			}
			stop()
			if err := removeTree(filepath.Join(root, "work")); err != nil {
				t.Fatal(err)
			}
			// An unshift may have been interrupted.
			if r := call(t, "shift", "--user-remap", remap, root); r.code != 0 {
				must(t, "unshift", "--keep-setid", root)
			}
		})
	}
}

// attackedTree returns a tree with directories that all users may change.
func attackedTree() []item {
	items := []item{directory(".", 0o755, 0, 0), directory("work", 0o777, 0, 0)}
	for n := range 20 {
		d := fmt.Sprintf("work/%d", n)
		items = append(items, directory(d, 0o777, 0, 0), directory(d+"/etc", 0o777, 0, 0),
			file(d+"/etc/passwd", 0o666, 0, 0),
			file(d+"/etc/root", 0o4777, 0, 0).with(capsName, caps2()), directory(d+"/etc/d", 0o777, 1, 1),
			file(d+"/etc/user", 0o666, 5, 5))
	}
	return items
}

// startAttacker starts an attacker with a role as uid 100000, and waits until it is ready.
func startAttacker(t *testing.T, name string, args ...string) (stop func()) {
	t.Helper()
	line := role(name, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 100000, Gid: 100000}}
	if args[0] == "mount" { // needs namespaces
		ids := []syscall.SysProcIDMap{{HostID: 100000, Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{NoSetGroups: true},
		}
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if line := ctr.StartReady(t, cmd); line != "ready\n" {
		t.Fatalf("got %q from the attacker, want ready", line)
	}
	return func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait() // returns the signal
	}
}

// attack swaps and links until its input ends.
func attack(work, dir string) error {
	if err := os.Chdir(work); err != nil {
		return err
	}
	outside, own := filepath.Join(dir, "outside"), filepath.Join(dir, "own")
	for n := range 20 {
		if err := os.Symlink(outside, fmt.Sprintf("%d/link", n)); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join(outside, "etc"), fmt.Sprintf("%d/etclink", n)); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	ended := make(chan bool)
	go func() {
		os.Stdin.Read(make([]byte, 1))
		close(ended)
	}()
	for n := 0; ; n = (n + 1) % 20 {
		select {
		case <-ended:
			return nil
		default:
		}
		d := strconv.Itoa(n)
		// Failures are ignored, since the tree changes during the attack.
		exchange(d+"/etc", d+"/etclink")
		exchange(d, strconv.Itoa((n+1)%20)+"/link")
		exchange(d+"/etc/passwd", d+"/etclink")
		exchange(d+"/etc", d+"/etclink")
		exchange(d, strconv.Itoa((n+1)%20)+"/link")
		unix.Link(own+"/suid", d+"/etc/suid")
		unix.Unlink(d + "/etc/suid")
		unix.Link(outside+"/etc/passwd", d+"/passwd")
		unix.Unlink(d + "/passwd")
		unix.Link(d+"/etc/root", own+"/root")
		unix.Unlink(own + "/root")
		os.Rename(d+"/etc", d+"/moved")
		os.Rename(d+"/moved", d+"/etc")
	}
}

func exchange(a, b string) {
	unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) // see attack
}

// TestLateLink checks that files outside a tree do not change when a process with an open directory
// of the tree creates hard links after the links were counted.
func TestLateLink(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	root := filepath.Join(dir, "root")
	items := []item{directory(".", 0o755, 0, 0), file("outside", 0o4755, 0, 0)}
	for n := range 3000 {
		items = append(items, directory(fmt.Sprintf("d%d", n), 0o755, 0, 0),
			file(fmt.Sprintf("d%d/f", n), 0o4755, 0, 0))
	}
	build(t, root, true, items[:1])
	build(t, dir, true, items[1:2])
	build(t, root, true, items[2:])
	line := commandLine(t, "shift", "--jobs", "1", "--user-remap", remap, root)
	var stderr strings.Builder
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stderr = &stderr
	hold, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the shift to begin", func() bool {
		_, err := getAttr(root, stateName)
		return err == nil
	})
	for n := range 3000 { // some of them are not visited yet
		if err := os.Link(filepath.Join(dir, "outside"),
			fmt.Sprintf("/proc/self/fd/%d/d%d/late", hold.Fd(), n)); err != nil {
			t.Fatal(err)
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "outside"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != 0 || st.Mode != unix.S_IFREG|0o4755 {
		t.Errorf("the file outside has owner %d and mode %o", st.Uid, st.Mode)
	}
	if err != nil && !strings.Contains(stderr.String(), "meanwhile") {
		t.Errorf("stderr: %s", &stderr)
	}
}

// linkedFiles is the number of files that a linker replaces.
const linkedFiles = 3000

// TestLinkRace checks a tree with a process of a host user in it, which replaces files with links
// to a file outside as soon as the shift changes their directory: the tree is not shifted, and with
// --force the file outside keeps its owner.
func TestLinkRace(t *testing.T) {
	dir := named("ext4").newDir(t)
	openToAll(t, dir)
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	build(t, root, true, []item{directory(".", 0o755, 0, 0), directory("d", 0o777, 0, 0)})
	for n := range linkedFiles {
		if err := unix.Mknod(fmt.Sprintf("%s/d/f%d", root, n), unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(outside, 0o666); err != nil { // so that all users may link it
		t.Fatal(err)
	}
	settle(t, root) // so that the shift does not read the cached attributes again
	stop := startAttacker(t, "linker", filepath.Join(root, "d"), outside)
	before := takeDump(t, root, true)
	checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "nothing was changed",
		"processes of other users are in "+root, "(cwd)", "--force")
	checkDump(t, "refused", takeDump(t, root, true), before)
	for _, jobs := range []string{"1", "4"} {
		r := call(t, "shift", "--force", "--jobs", jobs, "--user-remap", remap, root)
		t.Logf("%+v", r)
		checkOwners(t, dir, map[string]string{"outside": "0:0"})
	}
	stop()
}

// TestOccupants checks that a tree is not shifted while processes of another user are in it in any
// way, except only in its root directory.
func TestOccupants(t *testing.T) {
	for _, way := range []string{"cwd", "fd", "thread", "mount", "root"} {
		t.Run(way, func(t *testing.T) {
			dir := named("tmpfs").newDir(t)
			openToAll(t, dir)
			root := filepath.Join(dir, "root")
			build(t, root, true, append(small(), directory("open", 0o777, 0, 0)))
			if err := os.Chmod(root, 0o755); err != nil {
				t.Fatal(err)
			}
			stop := startAttacker(t, "occupant", way, root)
			if way == "root" {
				shiftTree(t, root)
				stop()
				return
			}
			before := takeDump(t, root, true)
			want := map[string]string{
				"cwd": "(cwd)", "fd": "(fd/", "thread": "(cwd)", "mount": `(mount "`,
			}[way]
			checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "nothing was changed",
				"processes of other users are in "+root, want)
			checkDump(t, "refused", takeDump(t, root, true), before)
			must(t, "shift", "--force", "--user-remap", remap, root)
			checkRefused(t, call(t, "unshift", "--keep-setid", root), 1,
				"processes of other users")
			stop()
			must(t, "unshift", "--keep-setid", root)
		})
	}
}

// occupy makes a process an occupant of a tree until its input ends.
func occupy(way, root string) error {
	inside := filepath.Join(root, "open")
	var err error
	switch way {
	case "cwd":
		err = os.Chdir(inside)
	case "fd":
		_, err = unix.Open(inside, unix.O_PATH, 0)
	case "root":
		err = os.Chdir(root)
	case "thread":
		done := make(chan error)
		go func() {
			lockThread() // the thread lives as long as the goroutine
			done <- errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chdir(inside))
			select {}
		}()
		err = <-done
	case "mount":
		err = unix.Mount(inside, "/tmp", "", unix.MS_BIND, "")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", way, err)
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	return nil
}

// linkOver waits for a change in the directory, and then replaces all files in it with links to a
// file outside.
func linkOver(dir, outside string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := unix.InotifyAddWatch(watch, ".", unix.IN_ATTRIB); err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := unix.Read(watch, make([]byte, 4096)); err != nil {
		return err
	}
	for n := linkedFiles - 1; n >= 0; n-- {
		name := fmt.Sprintf("f%d", n)
		if err := os.Link(outside, ".new"); err == nil { // otherwise try the next file
			os.Rename(".new", name)
		}
		os.Remove(".new") // left by a failed rename
	}
	return nil
}
