package wrapper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Runtime is an OCI runtime.
type Runtime struct {
	// Name is the name or path by which it was found, Path its program.
	Name, Path string
}

// defaultDirs are searched after PATH. Engines may call their runtime without PATH, as podman does
// to kill a container.
var defaultDirs = []string{
	"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
}

// FindRuntime finds the program of a runtime by its path, in PATH or in defaultDirs. It fails if
// that is this program, which would execute itself forever.
func FindRuntime(name string) (Runtime, error) {
	program, err := exec.LookPath(name)
	for _, dir := range defaultDirs {
		if err != nil && !strings.Contains(name, "/") {
			if found, failed := exec.LookPath(filepath.Join(dir, name)); failed == nil {
				program, err = found, nil
			}
		}
	}
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
		return Runtime{}, fmt.Errorf("%s is the wrapper itself", program)
	}
	return Runtime{name, program}, nil
}

// Become executes the runtime in this process. It returns only if that fails.
func (r Runtime) Become(args []string) error {
	err := syscall.Exec(r.Path, append([]string{r.Name}, args...), os.Environ())
	return fmt.Errorf("execute %s: %w", r.Path, err)
}
