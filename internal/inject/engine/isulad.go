package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/wiring"
)

const isuladState = "container_state.json"

// isuladGraphs returns the root directories of iSulad and of lcrd, its older name, according to
// their configuration.
func (o *Options) isuladGraphs() (graphs []string, err error) {
	var errs []error
	for _, name := range []string{"isulad", "lcrd"} {
		graph := filepath.Join(o.Lib, name)
		config := filepath.Join(o.Etc, name, "daemon.json")
		var c wiring.Isulad
		text, err := sys.ReadRegular(config, maxFile)
		if err == nil {
			c, err = wiring.ParseIsulad(text)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%s: %w", config, err))
		}
		options, err := sys.ReadRegular(filepath.Join(o.Etc, "sysconfig/iSulad"), maxFile)
		if err == nil && name == "isulad" {
			c.AddOptions(options)
		}
		if filepath.IsAbs(c.Graph) {
			graph = c.Graph
		}
		graphs = append(graphs, graph)
	}
	return graphs, errors.Join(errs...)
}

// findIsulad lists the containers of iSulad by their state in <graph>/engines/<runtime>/<id>/,
// without the client or the daemon.
func (o *Options) findIsulad() (found []finding, err error) {
	graphs, err := o.isuladGraphs()
	for _, graph := range graphs {
		states := []string{"*/*/" + isuladState}
		stored, more := findFiles(filepath.Join(graph, "engines"), states, readIsulad)
		found, err = append(found, stored...), errors.Join(err, more)
	}
	return found, err
}

// describeIsulad returns a note on the state of iSulad's containers in files, for the error of a
// client that cannot connect.
func (o *Options) describeIsulad() string {
	graphs, _ := o.isuladGraphs()
	for _, graph := range graphs {
		dir := filepath.Join(graph, "engines")
		if _, err := os.Stat(dir); err == nil {
			return "containers are read from " + dir
		}
	}
	return fmt.Sprintf("%s does not exist", filepath.Join(graphs[0], "engines"))
}

func readIsulad(file string) (finding, error) {
	dir := filepath.Dir(file)
	f := finding{Container: Container{ID: filepath.Base(dir), Engine: "isulad"}}
	if err := oci.CheckID(f.ID); err != nil {
		return f, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return f, err
	}
	f.known = info.ModTime() // iSulad writes it with each change
	if f.PID, err = readParsed(file, parseIsuladState); err != nil {
		return f, err
	}
	if text, err := sys.ReadRegular(filepath.Join(dir, "config.v2.json"), maxFile); err == nil {
		f.Names = parseIsuladName(text)
	}
	return f, nil
}

// parseIsuladState returns the pid of the container's init, or -1 if it is not running.
func parseIsuladState(text []byte) (pid int, err error) {
	var state struct {
		Running *bool
		Pid     int
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return 0, err
	}
	switch {
	case state.Running == nil:
		return 0, errors.New("want an object with Running and Pid")
	case !*state.Running:
		return -1, nil
	case state.Pid <= 0:
		return 0, fmt.Errorf("pid %d of a running container: want a positive number", state.Pid)
	}
	return state.Pid, nil
}

func parseIsuladName(text []byte) []string {
	var config struct{ CommonConfig struct{ Name string } }
	if json.Unmarshal(text, &config) != nil || config.CommonConfig.Name == "" {
		return nil
	}
	return []string{config.CommonConfig.Name}
}
