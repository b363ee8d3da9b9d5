package shim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Runtime is an OCI runtime.
type Runtime struct {
	// Name is what it was called, Path its program.
	Name, Path string
}

// FindRuntime finds the program of a runtime, by its path or in PATH. It is not to be this program: that would start itself for
// ever.
func FindRuntime(name string) (Runtime, error) {
	program, err := exec.LookPath(name)
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
