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

// engineKind is an engine whose configuration is looked at.
type engineKind struct {
	name string
	// programs are the names of its daemon, config is its main file, unit its service.
	programs []string
	config   string
	unit     string
	// price is what a restart costs, "" if containers notice nothing.
	price string
}

// Engines are the names of those that are known.
var Engines = []string{"containerd", "crio", "docker", "incus", "isulad", "lxc", "lxd", "podman", "proxmox"}

// wants tells whether the engine is to be looked at: it is wanted, and there.
func (w *World) wants(r *Report, e *engineKind) bool {
	named := slices.Contains(w.Engines, e.name)
	if len(w.Engines) > 0 && !named {
		return false
	}
	there := w.has(e)
	if !there && named {
		r.add(EngineAbsent, e.name, do("install %s, or do not ask for it", e.name), "neither its program nor %s is there", e.config)
	}
	return there
}

func (w *World) has(e *engineKind) bool { return w.program(e.programs...) != "" || w.exists(e.config) }

// restart is what makes the engine read its configuration, to be put behind another command. Where that has a price, it is left to people.
func (e *engineKind) restart(w *World) string {
	switch {
	case e.unit == "":
		return "" // it reads it for each container
	case e.price == "" && w.hasUnit(e.unit):
		return " && systemctl restart " + strings.TrimSuffix(e.unit, ".service")
	}
	return " # then restart " + e.programs[0] + e.price
}

// restartWords is the same in words.
func (e *engineKind) restartWords() string {
	if e.unit == "" {
		return ""
	}
	return ", and restart " + e.programs[0] + e.price
}

// state is how a file of the configuration is.
type state int

const (
	absent state = iota
	broken
	good
)

// config reads and parses a file of an engine's. What is wrong with it is added.
func (w *World) config(r *Report, e *engineKind, file string, parse func([]byte) error) state {
	text, err := w.read(file, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return absent
	}
	cure := do("make %s a regular file of at most %d bytes%s", file, maxConfig, e.restartWords())
	if err == nil {
		if err = parse(text); err == nil {
			return good
		}
		cure = do("correct %s%s", file, e.restartWords())
	}
	r.add(ConfigBroken, file, cure, "%s cannot use it: %v", e.name, err)
	return broken
}

// parseJSON parses a JSON object. An error says where it is.
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

// position is the place of the byte before offset.
func position(text []byte, offset int64) string {
	before := text[:min(max(offset, 0), int64(len(text)))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n')-1)
}

// table is a table of TOML.
type table map[string]any

// parseTOML parses a file. An error says where it is.
func parseTOML(text []byte) (t table, err error) {
	err = toml.Unmarshal(text, &t)
	var e *toml.DecodeError
	if errors.As(err, &e) {
		line, column := e.Position()
		err = fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return t, err
}

// table is the table below t that the keys lead to; empty if there is none.
func (t table) table(keys ...string) table {
	for _, key := range keys {
		next, ok := t[key].(map[string]any)
		if !ok {
			return nil
		}
		t = next
	}
	return t
}

func (t table) text(key string) string {
	s, _ := t[key].(string)
	return s
}

// texts are the strings of a list.
func (t table) texts(key string) (texts []string) {
	values, _ := t[key].([]any)
	for _, value := range values {
		if s, ok := value.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

// fragments are the files of a folder that is read besides a file, as containers.conf.d, in their order.
func (w *World) fragments(file, folder, suffix string) []string {
	files := []string{file}
	if more, err := w.files(folder, suffix); err == nil {
		files = append(files, more...)
	}
	return files
}

// base is the last part of a path.
func base(path string) string { return filepath.Base(path) }
