package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// bundle is a directory with a configuration.
func bundle(t *testing.T, text string) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, ConfigFile)
	write(t, file, text)
	return dir, file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fifo makes a FIFO without a writer.
func fifo(t *testing.T, file string) {
	t.Helper()
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// huge makes a file that is larger than is read, and takes no room.
func huge(t *testing.T, file string) {
	t.Helper()
	write(t, file, "")
	if err := os.Truncate(file, maxFile+1); err != nil {
		t.Fatal(err)
	}
}

func TestReadBundle(t *testing.T) {
	tests := []struct {
		name, text string
		want       Bundle // DIR stands for the bundle
	}{
		{"docker's", string(fixture(t, "config/docker.json")),
			Bundle{Root: "/var/lib/docker/vfs/dir/a3f0675a1aa04acbab79dd2a480f0a2de27dd2fd15946104a792e5e3738b1303"}},
		{"a masked path", `{"linux":{"maskedPaths":["/proc/kcore"]}}`, Bundle{HasMasks: true}},
		{"a read-only path", `{"linux":{"readonlyPaths":["/proc/sys"]}}`, Bundle{HasMasks: true}},
		{"no masks", `{"linux":{"maskedPaths":[],"readonlyPaths":null}}`, Bundle{}},
		{"read-only mounts",
			`{"mounts":[{"destination":"/proc"},{"destination":"//sys/","options":["nosuid","ro"]},
				{"destination":"/a","options":["rro"]},{"destination":"/b","options":["rw","relatime"]}]}`,
			Bundle{ReadOnly: []string{"/sys", "/a"}}},
		{"a relative root", `{"root":{"path":"rootfs","readonly":true}}`, Bundle{Root: "DIR/rootfs"}},
		{"a root beside", `{"root":{"path":"../x/./y"}}`, Bundle{Root: "DIR/../x/y"}},
		{"the bundle itself", `{"root":{"path":"."}}`, Bundle{Root: "DIR"}},
		{"an absolute root", `{"root":{"path":"/srv/rootfs"}}`, Bundle{Root: "/srv/rootfs"}},
		{"annotations", `{"annotations":{"a":"b","c.d/e":""},"root":{"path":"/r"}}`,
			Bundle{Root: "/r", Annotations: map[string]string{"a": "b", "c.d/e": ""}}},
		{"no root", `{"ociVersion":"1.0.2"}`, Bundle{}},
		{"nulls", `{"root":null,"annotations":null}`, Bundle{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, _ := bundle(t, tt.text)
			if root, ok := strings.CutPrefix(tt.want.Root, "DIR"); ok {
				tt.want.Root = filepath.Join(dir, root)
			}
			if got, err := ReadBundle(dir); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestReadBundleErrors(t *testing.T) {
	dir, _ := bundle(t, "{}")
	if _, err := ReadBundle(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := ReadBundle(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want %v", err, fs.ErrNotExist)
	}
	for name, text := range map[string]string{
		"empty": "", "garbage": "hello\n", "truncated": `{"root":{"path":"/r"`, "an array": "[]", "two": "{} {}",
		"a root that is a string": `{"root":"/r"}`, "an annotation that is a number": `{"annotations":{"a":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := bundle(t, text)
			_, err := ReadBundle(dir)
			checkError(t, err, "parse "+file)
		})
	}
	for name, create := range map[string]func(*testing.T, string){
		"not a regular file": fifo, "larger than": huge,
		"not a regular file (mode d": func(t *testing.T, file string) {
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, ConfigFile)
			create(t, file)
			soon(t, func() {
				_, err := ReadBundle(dir)
				checkError(t, err, "read "+file+": "+name)
			})
		})
	}
}
