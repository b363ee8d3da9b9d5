package ctr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Suite implements TestMain for a package of integration tests: it creates the fixtures once, runs
// the tests, and checks that they leave nothing behind.
type Suite struct {
	// Name is the name of the package.
	Name string
	// Programs lists programs that must be installed.
	Programs []string
	// OnHost runs the tests only in a new mount namespace, with the machine's processes, /run and
	// lxcfs, instead of as Isolate does.
	OnHost bool
	// Setup, unless nil, creates the fixtures in dir, which all users can search. At the end cleanup
	// is called, unless nil, and dir is removed.
	Setup func(ctx context.Context, dir string) (cleanup func() error, err error)
}

// setupTime is the timeout of Setup, which may build packages.
const setupTime = 20 * time.Minute

// Run runs the tests. It does not return.
func (s *Suite) Run(m *testing.M) {
	isolate := Isolate
	if s.OnHost {
		isolate = isolateMounts
	}
	code, done, err := isolate()
	if err == nil && !done {
		code, err = s.RunHere(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, s.Name+":", err)
		code = 1
	}
	os.Exit(code)
}

// RunHere runs the tests in the namespaces of the caller, and returns the exit code.
func (s *Suite) RunHere(m *testing.M) (code int, err error) {
	for _, program := range s.Programs {
		if _, err := exec.LookPath(program); err != nil {
			return 1, fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	dir, err := os.MkdirTemp("", "palisade-"+s.Name+"-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // for containers with a user namespace
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTime)
	defer cancel()
	cleanup := func() error { return nil }
	if s.Setup != nil {
		if cleanup, err = s.Setup(ctx, dir); err != nil {
			return 1, err
		}
	}
	before, err := takeInventory()
	if err == nil {
		if code = m.Run(); code == 0 { // failed tests may leave resources
			err = before.check()
		}
	}
	if cleanup != nil {
		err = errors.Join(err, cleanup())
	}
	return code, err
}

// isolateMounts is like Isolate, but with a new mount namespace only.
func isolateMounts() (code int, done bool, err error) {
	if os.Getenv(isolatedMark) != "" {
		return 0, false, nil
	}
	if os.Geteuid() != 0 {
		return 1, true, errors.New("containers are started: run this as root")
	}
	self, err := os.Executable()
	if err != nil {
		return 1, true, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolatedMark+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	return exitCode(cmd.Run())
}

// exitCode returns the exit code in the error of a program's Run.
func exitCode(err error) (code int, done bool, _ error) {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), true, nil
	}
	return 0, true, err
}

// inventory lists the descriptors, mounts and goroutines of a test program.
type inventory struct {
	files, mounts map[string]string
	goroutines    int
}

func takeInventory() (*inventory, error) {
	http.DefaultClient.CloseIdleConnections()
	v := &inventory{files: make(map[string]string), mounts: make(map[string]string)}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		// ReadDir's own descriptor is closed already.
		if link, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil {
			v.files["descriptor "+fd.Name()] = link
		}
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(table)) {
		v.mounts["mount "+strings.Fields(line)[0]] = strings.TrimSpace(line)
	}
	v.goroutines = pprof.Lookup("goroutine").Count()
	return v, nil
}

// check returns an error unless within 10 seconds nothing is left that the inventory lacks.
func (v *inventory) check() error {
	var left []string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		now, err := takeInventory()
		if err != nil {
			return err
		}
		left = append(added(v.files, now.files), added(v.mounts, now.mounts)...)
		left = append(left, leftCgroups()...)
		if now.goroutines > v.goroutines {
			var stacks bytes.Buffer
			pprof.Lookup("goroutine").WriteTo(&stacks, 1) // a buffer has no errors
			left = append(left, fmt.Sprintf("%d goroutines, want %d: %s", now.goroutines, v.goroutines, &stacks))
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the tests have left behind\n%s", strings.Join(left, "\n"))
		}
	}
}

// added returns the entries of now that are not in before.
func added(before, now map[string]string) (list []string) {
	for key, value := range now {
		if before[key] != value {
			list = append(list, key+": "+value)
		}
	}
	return list
}

// cgroups holds the names of the cgroups that this program has created.
var cgroups struct {
	sync.Mutex
	names []string
}

// madeCgroup records the name of a cgroup that this program creates, and returns it.
func madeCgroup(name string) string {
	cgroups.Lock()
	defer cgroups.Unlock()
	cgroups.names = append(cgroups.names, name)
	return name
}

// leftCgroups returns those that still exist.
func leftCgroups() (left []string) {
	cgroups.Lock()
	defer cgroups.Unlock()
	for _, name := range cgroups.names {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			found, _ := filepath.Glob(pattern + name) // the names have no pattern
			for _, dir := range found {
				left = append(left, "cgroup "+dir)
			}
		}
	}
	return left
}
