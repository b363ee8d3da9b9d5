package shim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Runtime is an OCI runtime.
type Runtime struct {
	// Name is what it was called, Path its program.
	Name, Path string
}

// usualDirs are where runtimes are looked for that PATH does not lead to: engines call their runtime with other variables now and
// then, or none (podman, to kill a container).
var usualDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

func lookPath(name string) (program string, err error) {
	if program, err = exec.LookPath(name); err == nil || strings.Contains(name, "/") {
		return program, err
	}
	for _, dir := range usualDirs {
		if program, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return program, nil
		}
	}
	return "", err
}

// FindRuntime finds the program of a runtime, by its path, in PATH or in the usual folders. It is not to be this program: that
// would start itself for ever.
func FindRuntime(name string) (Runtime, error) {
	program, err := lookPath(name)
	if err != nil {
		return Runtime{}, err
	}
	info, err := os.Stat(program)
	if err != nil {
		return Runtime{}, err
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return Runtime{}, err
	}
	if os.SameFile(info, self) {
		return Runtime{}, errors.New("it is the wrapper itself")
	}
	return Runtime{name, program}, nil
}

// Become makes this process the runtime, with the arguments. It returns only if that fails.
func (r Runtime) Become(args []string) error {
	err := syscall.Exec(r.Path, append([]string{r.Name}, args...), os.Environ())
	return fmt.Errorf("become %s: %w", r.Path, err)
}
