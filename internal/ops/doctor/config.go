package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

type engineKind struct {
	name string
	// program is the name of its daemon, config is its main file, unit its service.
	program, config, unit string
	// impact describes the effect of a restart on containers, "" if there is none.
	impact string
}

// Engines are the names of all engines.
var Engines = []string{
	"containerd", "crio", "docker", "incus", "isulad", "lxc", "lxd", "podman", "proxmox",
}

// wants reports whether to check the engine: it is selected and installed.
func (w *World) wants(r *Report, e *engineKind) bool {
	named := slices.Contains(w.Engines, e.name)
	if len(w.Engines) > 0 && !named {
		return false
	}
	if w.has(e) {
		r.engines = append(r.engines, e.name)
		return true
	}
	if named {
		r.warn("engine-absent", e.name, advice("install %s, or remove it from --engine", e.name),
			"neither its program nor %s exists", e.config)
	}
	return false
}

func (w *World) has(e *engineKind) bool {
	return w.program(e.program) != "" || w.exists(e.config)
}

// restart returns the end of a command that makes the engine read its configuration. If a restart
// affects containers it is only a comment.
func (e *engineKind) restart(w *World) string {
	switch {
	case e.unit == "":
		return "" // it reads it for each container
	case e.impact == "" && w.hasUnit(e.unit):
		return " && systemctl restart " + strings.TrimSuffix(e.unit, ".service")
	}
	return " # then restart " + e.program + e.impact
}

// restartWords returns the end of an advice that makes the engine read its configuration.
func (e *engineKind) restartWords() string {
	if e.unit == "" {
		return ""
	}
	return ", and restart " + e.program + e.impact
}

type state int

const (
	absent state = iota
	broken
	good
)

// readConfig reads and parses a file of an engine. It adds a finding for an error.
func readConfig[T any](
	w *World, r *Report, e *engineKind, file string, parse func([]byte) (T, error),
) (value T, _ state) {
	text, err := w.read(file, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return value, absent
	}
	cure := advice("make %s a regular file of at most %d bytes%s", file, maxConfig, e.restartWords())
	if err == nil {
		if value, err = parse(text); err == nil {
			return value, good
		}
		cure = advice("correct %s%s", file, e.restartWords())
	}
	r.error("config-broken", file, cure, "%s cannot use it: %v", e.name, err)
	return value, broken
}

// parseJSON parses a JSON object. Errors contain the line and column.
func parseJSON(text []byte, value any) error {
	err := json.Unmarshal(text, value)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %w", position(text, syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("%s: %q cannot be a %s", position(text, kind.Offset), kind.Field, kind.Value)
	}
	return err
}

func position(text []byte, offset int64) string {
	before := text[:min(max(offset, 0), int64(len(text)))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n')-1)
}

// parseTOML parses a file. Errors contain the line and column.
func parseTOML[T any](text []byte) (value T, err error) {
	err = toml.Unmarshal(text, &value)
	var e *toml.DecodeError
	if errors.As(err, &e) {
		line, column := e.Position()
		err = fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return value, err
}

// spec returns the command that prints the configuration for the hook.
func (w *World) spec(e *engineKind) string { return w.toolkit("hook-spec", e.name) }

// writeSpec returns the command that writes it to a new file.
func (w *World) writeSpec(e *engineKind, file string) string {
	return fmt.Sprintf("mkdir -p %s && %s >%s", quote(filepath.Dir(file)), w.spec(e), quote(file))
}
