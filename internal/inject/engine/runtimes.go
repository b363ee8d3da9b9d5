package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/oci"
)

const maxFile = 16 << 20

// findFiles reads a finding, or a list, from every file that matches a pattern below dir. A file
// that was removed meanwhile belonged to a container that has ended.
func findFiles[T any](
	dir string, patterns []string, read func(file string) (T, error),
) (found []T, err error) {
	var errs []error
	for _, pattern := range patterns {
		names, err := fs.Glob(os.DirFS(dir), pattern) // dir may contain characters of patterns
		errs = append(errs, err)
		for _, name := range names {
			file := filepath.Join(dir, name)
			f, err := read(file)
			switch {
			case err == nil:
				found = append(found, f)
			case !errors.Is(err, fs.ErrNotExist):
				errs = append(errs, fmt.Errorf("%s: %w", file, err))
			}
		}
	}
	return found, errors.Join(errs...)
}

func readParsed[T any](file string, parse func([]byte) (T, error)) (parsed T, err error) {
	text, err := sys.ReadRegular(file, maxFile)
	if err != nil {
		return parsed, err
	}
	return parse(text)
}

func readRunc(file string) (finding, error) {
	f, err := readParsed(file, parseRunc)
	f.Engine = "runc"
	if namespace := filepath.Base(filepath.Dir(filepath.Dir(file))); namespace != "runc" {
		f.Engine = namespaceEngine(namespace)
	}
	return f, err
}

// namespaceEngine returns the engine that uses a namespace of containerd.
func namespaceEngine(namespace string) string {
	if namespace == "moby" {
		return "docker"
	}
	return "containerd"
}

// parseRunc parses the beginning of runc's state.json (libcontainer.State). The rest, the
// configuration, is much longer.
func parseRunc(text []byte) (finding, error) {
	var f finding
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return f, errors.Join(errors.New("want a JSON object"), err)
	}
	var start int64
	wanted := map[string]any{"id": &f.ID, "init_process_pid": &f.PID, "init_process_start": &start}
	for len(wanted) > 0 && decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return f, err
		}
		name, _ := key.(string)
		value, ok := wanted[name]
		if !ok {
			value = new(json.RawMessage)
		}
		if err := decoder.Decode(value); err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
		delete(wanted, name)
	}
	if len(wanted) > 0 {
		return f, errors.New("missing id, pid or start time")
	}
	f.started = time.Duration(start) * procfs.ClockTick
	return f, oci.CheckID(f.ID)
}

func readCrun(file string) (finding, error) {
	f, err := readParsed(file, parseCrun)
	f.ID, f.Engine = filepath.Base(filepath.Dir(file)), "crun"
	return f, err
}

// parseCrun parses crun's status (libcrun/status.c).
func parseCrun(text []byte) (finding, error) {
	var status struct {
		PID   int   `json:"pid"`
		Start int64 `json:"process-start-time"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return finding{}, err
	}
	return finding{
		Container: Container{PID: status.PID}, started: time.Duration(status.Start) * procfs.ClockTick,
	}, nil
}

// readTask reads the pid file of a task of containerd, whose directory is a bundle.
func readTask(file string) (finding, error) {
	bundle := filepath.Dir(file)
	namespace := filepath.Base(filepath.Dir(bundle))
	f := finding{Container: Container{
		ID: filepath.Base(bundle), Engine: namespaceEngine(namespace),
	}}
	info, err := os.Stat(file)
	if err != nil {
		return f, err
	}
	f.known = info.ModTime()
	f.PID, err = readParsed(file, func(text []byte) (int, error) {
		return strconv.Atoi(strings.TrimSpace(string(text)))
	})
	if err != nil {
		return f, err
	}
	if f.Engine == "containerd" {
		f.Names = taskNames(bundle)
	}
	return f, nil
}

// taskNames returns the names that a client of containerd has set: CRI (pkg/cri/annotations) or
// nerdctl.
func taskNames(bundle string) []string {
	config, err := oci.ReadBundle(bundle)
	if err != nil {
		return nil // the id is enough
	}
	a := config.Annotations
	if name := a["io.kubernetes.cri.container-name"]; name != "" {
		namespace, pod := a["io.kubernetes.cri.sandbox-namespace"], a["io.kubernetes.cri.sandbox-name"]
		return []string{namespace + "/" + pod + "/" + name}
	}
	if name := a["nerdctl/name"]; name != "" {
		return []string{name}
	}
	return nil
}
