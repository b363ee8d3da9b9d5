package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/bench/stat"
)

// measureHook runs the hook for a new container whose root file system is already shifted.
func (b *bench) measureHook(root string, rounds int) error {
	const first, size = 100000, 65535
	bundle := filepath.Join(b.dir, "bundle")
	maps := []specs.LinuxIDMapping{{HostID: first, Size: size}}
	config, err := json.Marshal(specs.Spec{
		Version: specs.Version, Root: &specs.Root{Path: root},
		Process: &specs.Process{Cwd: "/", Args: []string{"sh"}},
		Linux: &specs.Linux{
			Namespaces:  []specs.LinuxNamespace{{Type: specs.UserNamespace}},
			UIDMappings: maps, GIDMappings: maps,
		},
	})
	if err != nil {
		return err
	}
	if err := os.Mkdir(bundle, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		return err
	}
	container := exec.Command("sleep", "1000000")
	ids := []syscall.SysProcIDMap{{HostID: first, Size: size}}
	container.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
		UidMappings: ids, GidMappings: ids,
	}
	if err := container.Start(); err != nil {
		return err
	}
	defer container.Wait() // returns the signal
	defer container.Process.Kill()
	state := fmt.Sprintf(
		`{"ociVersion":"1.0.2","id":"bench","status":"creating","pid":%d,"bundle":%q}`,
		container.Process.Pid, bundle)
	var took, empty []time.Duration
	for range 3 * rounds {
		cmd := exec.Command(b.program, "hook", "--mode", "shift")
		cmd.Stdin = strings.NewReader(state)
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("hook: %w: %s", err, out)
		}
		took = append(took, time.Since(start))
		r, err := call("true")
		if err != nil {
			return err
		}
		empty = append(empty, r.took)
	}
	fmt.Printf("hook with a shifted root: %v; true(1): %v\n", stat.Median(took).Round(10*time.Microsecond),
		stat.Median(empty).Round(10*time.Microsecond))
	return nil
}
