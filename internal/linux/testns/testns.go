// Package testns runs tests as root of user, mount and pid namespaces of their own, where they may
// mount without being root of the host. It is for tests.
package testns

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// variable is set in the environment of a process in the namespaces.
const variable = "PALISADE_TEST_NAMESPACES"

// notPossible is the exit code of a process that cannot mount in its namespaces.
const notPossible = 200

// Main is the TestMain of a package. It executes the test binary again in the namespaces, with
// their own /proc and an empty /run and /var/lib. If that is not possible, Need skips the tests.
func Main(m *testing.M) {
	if os.Getenv(variable) == "" {
		if code := rerun(); code != notPossible {
			os.Exit(code)
		}
	} else if setUp() != nil {
		os.Exit(notPossible)
	}
	os.Exit(m.Run())
}

// Need skips the test outside the namespaces.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Skip("this kernel does not permit mounts in user namespaces")
	}
}

func rerun() (code int) {
	signal.Ignore(syscall.SIGINT) // the child ends by it
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), variable+"=1"),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
			// Only root may permit setgroups(2).
			GidMappingsEnableSetgroups: os.Geteuid() == 0,
		},
	})
	if err != nil {
		return notPossible
	}
	state, err := child.Wait()
	if err != nil {
		return notPossible
	}
	return state.ExitCode()
}

func setUp() error {
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		return err
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	return nil
}
