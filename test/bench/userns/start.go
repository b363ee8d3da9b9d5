package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/bench/stat"
)

// measureStart starts containers of an image whose only layer is the tree, each for the first time:
// without a user namespace, with idmapped layers, and, in fewer rounds, with all files copied up.
func (b *bench) measureStart(tree string, files, rounds int) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "busybox"), text, 0o755); err != nil {
		return err
	}
	starts := []struct {
		name string
		line []string
	}{
		{"without a user namespace", []string{"runc"}},
		{"with idmapped layers", []string{b.program, "runtime", "--runtime", "runc", "--user-remap", remap,
			"--"}},
		{"with --mode shift --allow-copyup", []string{b.program, "runtime", "--runtime", "runc",
			"--user-remap", remap, "--mode", "shift", "--allow-copyup", "--"}},
	}
	took := make([][]time.Duration, len(starts))
	for round := range rounds + 1 {
		for i, start := range starts {
			if i == 2 && round > 2 {
				continue
			}
			d, err := b.start(tree, fmt.Sprintf("%d-%d", round, i), start.line)
			if err != nil {
				return fmt.Errorf("%s: %w", start.name, err)
			}
			if round > 0 { // the first one warms up
				took[i] = append(took[i], d)
			}
		}
	}
	for i, start := range starts {
		fmt.Printf("first start of an image with %d files %s: %v\n", files, start.name,
			stat.Median(took[i]).Round(100*time.Microsecond))
	}
	return nil
}

// start mounts an overlay as an engine does, and returns how long the command takes to run a
// container in it.
func (b *bench) start(lower, name string, line []string) (took time.Duration, err error) {
	disk := filepath.Dir(lower)
	dir, bundle := filepath.Join(disk, "start-"+name), filepath.Join(b.dir, "start-"+name)
	merged := filepath.Join(dir, "merged")
	for _, sub := range []string{dir + "/upper", dir + "/work", merged, bundle} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return 0, err
		}
	}
	options := "index=off,lowerdir=" + lower + ",upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, syscall.Unmount(merged, syscall.MNT_DETACH), os.RemoveAll(dir)) }()
	id := fmt.Sprintf("palisade-bench-%d-%s", os.Getpid(), name)
	config, err := json.Marshal(specs.Spec{
		Version: specs.Version, Root: &specs.Root{Path: merged},
		Process: &specs.Process{Cwd: "/", Args: []string{"/busybox", "true"}},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{CgroupsPath: "/" + id, Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}},
	})
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		return 0, err
	}
	syscall.Sync() // engines unmount an overlay before, which syncs the file system
	args := append(line[1:len(line):len(line)], "run", "--bundle", bundle, id)
	r, err := call(append(line[:1:1], args...)...)
	return r.took, err
}
