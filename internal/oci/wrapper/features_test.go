package wrapper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFeatures asks runtimes, and counts how often they are asked.
func TestFeatures(t *testing.T) {
	dir := t.TempDir()
	kept, asked := filepath.Join(dir, "kept"), filepath.Join(dir, "asked")
	write := func(name, answer string, code int) Runtime {
		t.Helper()
		path := filepath.Join(dir, name)
		script := fmt.Sprintf("#!/bin/sh\necho x >>%s\necho '%s'\nexit %d\n", asked, answer, code)
		if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		return Runtime{Name: name, Path: path}
	}
	const answer = `{"ociVersionMin":"1.0.0","linux":{"namespaces":["pid","%s"],"capabilities":["A"]},` +
		`"annotations":{"v":"1"}}`
	runtime := write("runtime", fmt.Sprintf(answer, "time"), 0)
	old := write("old", "unknown command features", 1)
	for _, tt := range []struct {
		name       string
		before     func()
		runtime    Runtime
		namespaces string
		asks       bool
	}{
		{"first", func() {}, runtime, "[pid time]", true},
		{"kept", func() {}, runtime, "[pid time]", false},
		{"without the command", func() {}, old, "none", true},
		{"without the command, kept", func() {}, old, "none", false},
		{"another version", func() { write("runtime", fmt.Sprintf(answer, "other"), 0) },
			runtime, "[pid other]", true},
		{"too old", func() {
			files, _ := filepath.Glob(kept + "/*")
			for _, file := range files {
				if err := os.Chtimes(file, time.Now(), time.Now().Add(-2*featuresAge)); err != nil {
					t.Fatal(err)
				}
			}
		}, runtime, "[pid other]", true},
		{"damaged", func() {
			files, _ := filepath.Glob(kept + "/*")
			for _, file := range files {
				if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, runtime, "[pid other]", true},
	} {
		tt.before()
		os.Remove(asked) // fails the first time
		f, err := tt.runtime.Features(kept)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got := "none"
		if f.Linux != nil {
			got = fmt.Sprint(f.Linux.Namespaces)
		}
		_, err = os.Stat(asked)
		if got != tt.namespaces || (err == nil) != tt.asks {
			t.Errorf("%s: got namespaces %s, asked %v", tt.name, got, err == nil)
		}
	}
	for name, want := range map[string]string{"garbage": "parse output of garbage features"} {
		if _, err := write(name, "{", 0).Features(kept); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := (Runtime{"none", filepath.Join(dir, "none")}).Features(kept); !os.IsNotExist(err) {
		t.Errorf("no program: %v", err)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}
