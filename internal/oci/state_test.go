package oci

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// soon makes sure that something does not wait for ever.
func soon(t *testing.T, do func()) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
}

// checkError makes sure that an error has a message of one line.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want one with %q", want)
	} else if text := err.Error(); !strings.Contains(text, want) || strings.ContainsAny(text, "\n\r\x00") {
		t.Errorf("got the error %q, want one line with %q", text, want)
	}
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReadState(t *testing.T) {
	const (
		podmanID = "a13be1f9952da4f1952f72bd4ff36073a1004a893d4632e13dc8eb70900c347f"
		lcrID    = "6be3c4fd2c1f4fb1a1b0d3d9f5e1d3f0a6a9c1d7e8b2c4f6a8d0e2f4b6c8d0e2"
		isuladID = "d4a1f7c2b3e5968707a6b5c4d3e2f1a09f8e7d6c5b4a39281706f5e4d3c2b1a0"
	)
	tests := []struct {
		file        string
		want        State
		annotations int
	}{
		{"runc-creating", state("1.0.2-dev", "t-plain", "creating", 11201, "/srv/runc-plain", ""), 0},
		{"runc-annotations", state("1.0.2-dev", "t-ann", "creating", 11274, "/srv/runc-ann", ""), 2},
		{"runc-stopped", state("1.0.2-dev", "t-plain", "stopped", 0, "/srv/runc-plain", ""), 0},
		{"crun-created", state("1.0", "t-plain", "created", 11593, "/srv/crun-plain", "rootfs"), 0},
		{"crun-annotations", state("1.0", "t-ann", "created", 11607, "/srv/crun-ann", "rootfs"), 2},
		{"crun-stopped", state("1.0", "t-ann", "stopped", 0, "/srv/crun-ann", "rootfs"), 2},
		{"lcr-prestart", state("", lcrID, "", 17097, "/var/lib/isulad/engines/lcr/"+lcrID, "/srv/rootfs"), 0},
		{"lcr-poststop", state("", lcrID, "", -1, "/var/lib/isulad/engines/lcr/"+lcrID, "/srv/rootfs"), 0},
		{"isulad-runc", state("1.0.2-dev", isuladID, "creating", 17815, "/var/lib/isulad/engines/runc/"+isuladID, ""), 4},
		{"podman-runc", state("1.0.2-dev", podmanID, "creating", 13361,
			"/var/lib/containers/storage/overlay-containers/"+podmanID+"/userdata", ""), 8},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			text := fixture(t, "state/"+tt.file+".json")
			got, err := ReadState(t.Context(), strings.NewReader(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Annotations) != tt.annotations {
				t.Errorf("got the annotations %q, want %d", got.Annotations, tt.annotations)
			}
			if want := "kernel & <tools>"; strings.HasSuffix(tt.file, "-annotations") && got.Annotations["com.example.team"] != want {
				t.Errorf("got the annotations %q, want one of %q", got.Annotations, want)
			}
			got.Annotations = nil
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func state(version, id string, status specs.ContainerState, pid int, bundle, root string) State {
	return State{State: specs.State{Version: version, ID: id, Status: status, Pid: pid, Bundle: bundle}, Root: root}
}

// pipe is a pipe that is closed when the test ends; flags are pipe2(2)'s.
func pipe(t *testing.T, flags int) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe2(fds[:], flags|syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "writer")
	t.Cleanup(func() {
		w.Close()
		r.Close()
	})
	return r, w
}

// TestReadStateFromPipe: the writer may be late, and leave the pipe open. lcr's pipes do not block.
func TestReadStateFromPipe(t *testing.T) {
	text := string(fixture(t, "state/lcr-prestart.json"))
	for name, flags := range map[string]int{"blocking": 0, "not blocking": syscall.O_NONBLOCK} {
		for _, late := range []time.Duration{0, 50 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, late by %v", name, late), func(t *testing.T) {
				r, w := pipe(t, flags)
				written := make(chan error, 1)
				go func() {
					time.Sleep(late)
					_, err := io.WriteString(w, text[:40])
					time.Sleep(late)
					if err == nil {
						_, err = io.WriteString(w, text[40:])
					}
					written <- err
				}()
				soon(t, func() {
					s, err := ReadState(t.Context(), r)
					if err != nil || s.Pid != 17097 {
						t.Errorf("got %+v, %v", s, err)
					}
				})
				if err := <-written; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestReadStateGivesUp(t *testing.T) {
	for name, flags := range map[string]int{"blocking": 0, "not blocking": syscall.O_NONBLOCK} {
		for _, text := range []string{"", `{"ociVersion":"1.0.2-dev","id":"t4"`} {
			t.Run(fmt.Sprintf("%s after %d bytes", name, len(text)), func(t *testing.T) {
				r, w := pipe(t, flags)
				if _, err := io.WriteString(w, text); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				soon(t, func() {
					_, err := ReadState(ctx, r)
					checkError(t, err, "no hook state on stdin: context deadline exceeded")
				})
			})
		}
	}
}

func TestReadStateErrors(t *testing.T) {
	huge := `{"id":"x","annotations":{"a":"` + strings.Repeat("a", maxState) + `"}}`
	withID := func(id string) string { return `{"ociVersion":"1.0","id":"` + id + `","pid":7}` }
	tests := []struct{ name, text, want string }{
		{"empty", "", "no hook state on stdin"},
		{"blanks", " \n\n", "no hook state on stdin"},
		{"garbage", "hello\nworld", "parse hook state on stdin: invalid character"},
		{"a control character", "\n\x00\x01", "parse hook state on stdin: invalid character"},
		{"an array", `[{"id":"x"}]`, "parse hook state on stdin: json: cannot unmarshal array"},
		{"a string", `"x\ny"`, "parse hook state on stdin: json: cannot unmarshal string"},
		{"truncated", `{"ociVersion":"1.0.2-dev","id":"t4","pid":235`, "parse hook state on stdin: unexpected EOF"},
		{"huge", huge, "larger than 1048576 bytes"},
		{"null", "null", "no container id"},
		{"no id", `{"ociVersion":"1.0","pid":7}`, "no container id"},
		{"an empty id", withID(""), "no container id"},
		{"slash", withID("a/b"), `"a/b" is not a file name`},
		{"NUL", withID(`a\u0000b`), `"a\x00b" is not a file name`},
		{"newline", withID(`a\nb`), `"a\nb" is not a file name`},
		{"DEL", withID("a\x7fb"), `"a\x7fb" is not a file name`},
		{"this directory", withID("."), `"." is not a file name`},
		{"the one above", withID(".."), `".." is not a file name`},
		{"a long id", withID(strings.Repeat("a", 300)), `"...: 300 bytes, want at most 255`},
		{"a long id of long letters", withID(strings.Repeat("aé", 100)), `"...: 300 bytes, want at most 255`},
		{"a pid that is a string", `{"id":"x","pid":"7"}`, "parse hook state on stdin: json: cannot unmarshal string"},
		{"a pid that is no integer", `{"id":"x","pid":7.5}`, "parse hook state on stdin: json: cannot unmarshal number"},
		{"a pid that overflows", `{"id":"x","pid":18446744073709551615}`, "parse hook state on stdin: json: cannot unmarshal number"},
		{"a root that is an object", `{"id":"x","root":{"path":"/"}}`, "parse hook state on stdin: json: cannot unmarshal object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ReadState(t.Context(), strings.NewReader(tt.text))
			checkError(t, err, tt.want)
			if s.ID != "" || s.Pid != 0 {
				t.Errorf("got %+v with the error", s)
			}
		})
	}
}

// TestReadStateIgnoresRest: what follows the object is not the state's.
func TestReadStateIgnoresRest(t *testing.T) {
	text := string(fixture(t, "state/runc-creating.json"))
	for name, rest := range map[string]string{"newline": "\n", "garbage": "garbage", "huge": strings.Repeat(" ", 2*maxState)} {
		if s, err := ReadState(t.Context(), strings.NewReader(text+rest)); err != nil || s.Pid != 11201 {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "web-1_2.3+x", "...", "ü", "a b", strings.Repeat("f", 255)} {
		if err := CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func FuzzReadState(f *testing.F) {
	files, err := filepath.Glob("testdata/state/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
		f.Add(string(text[:len(text)/2]))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadState(t.Context(), strings.NewReader(text))
		switch {
		case err == nil && CheckID(s.ID) != nil:
			t.Errorf("the id %q is taken", s.ID)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("the error has several lines: %q", err)
		}
	})
}
