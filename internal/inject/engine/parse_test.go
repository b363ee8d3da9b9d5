package engine

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"palisade/internal/linux/procfs"
)

func TestParseRunc(t *testing.T) {
	text := fixture(t, "runc-state.json")
	want := finding{Container: Container{ID: dockerID, PID: 82}, started: 2401121 * procfs.ClockTick}
	const odd = `{"future":{"id":"x","n":[{}]},"init_process_start":5,"config":null,"init_process_pid":7,"id":"a"}`
	small := finding{Container: Container{ID: "a", PID: 7}, started: 5 * procfs.ClockTick}
	for name, tt := range map[string]struct {
		text string
		want finding
	}{
		"real":                       {text, want},
		"the rest is not read":       {text[:strings.Index(text, `"rootfs"`)], want},
		"another order":              {odd, small},
		"blanks":                     {" {\n\"id\": \"a\",\n\"init_process_pid\": 7,\n\"init_process_start\": 5}\n", small},
		"a process that was not yet": {`{"id":"a","init_process_pid":0,"init_process_start":0}`, finding{Container: Container{ID: "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseRunc([]byte(tt.text)); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseRuncErrors(t *testing.T) {
	text := fixture(t, "runc-state.json")
	for name, tt := range map[string]struct{ text, want string }{
		"empty":               {"", "want a JSON object"},
		"garbage":             {"hello", "want a JSON object"},
		"an array":            {"[1]", "want a JSON object"},
		"null":                {"null", "want a JSON object"},
		"empty object":        {"{}", "missing id, pid or start time"},
		"half-written":        {text[:40], "unexpected EOF"},
		"written to a comma":  {`{"id":"a","init_process_pid":7,`, "EOF"},
		"no start":            {`{"id":"a","init_process_pid":7}`, "missing id, pid or start time"},
		"no id":               {`{"init_process_pid":7,"init_process_start":5}`, "missing id, pid or start time"},
		"a null id":           {`{"id":null,"init_process_pid":7,"init_process_start":5}`, "no container id"},
		"a bad id":            {`{"id":"../x","init_process_pid":7,"init_process_start":5}`, "not a file name"},
		"a pid with a point":  {`{"id":"a","init_process_pid":7.5,"init_process_start":5}`, "init_process_pid: json"},
		"a start that is not": {`{"id":"a","init_process_pid":7,"init_process_start":"5"}`, "init_process_start: json"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseRunc([]byte(tt.text)); err == nil ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want an error with %q", got, err, tt.want)
			}
		})
	}
}

func TestParseCrun(t *testing.T) {
	got, err := parseCrun([]byte(fixture(t, "crun-status")))
	want := finding{Container: Container{PID: 11607}, started: 23746060 * time.Millisecond}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	// The start time may be missing.
	got, err = parseCrun([]byte(`{"pid": 7}`))
	if want := (finding{Container: Container{PID: 7}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, text := range []string{"", "hello", "[]", `{"pid": "7"}`, fixture(t, "crun-status")[:50]} {
		if got, err := parseCrun([]byte(text)); err == nil {
			t.Errorf("%.50q: got %+v, want an error", text, got)
		}
	}
}

func TestParseStored(t *testing.T) {
	named := func(engine, id string, names ...string) finding {
		return finding{Container: Container{ID: id, Names: names, Engine: engine}}
	}
	const (
		uid = "5f0c3a1e-8d6b-4f2a-9c7e-1b3d5f7a9c0e"
		pod = "nginx-7c5ddbdf54-x2v9k_default_" + uid + "_0"
	)
	for name, tt := range map[string]struct {
		text string
		want []finding
	}{
		"podman": {fixture(t, "podman-containers.json"), []finding{
			named("podman", "a13be1f9952da4f1952f72bd4ff36073a1004a893d4632e13dc8eb70900c347f", "old"),
			named("podman", "f8942d06e8270f6ce77cd8e724dc1cc373c784c398b8c31f46cedaceb9d800a9", "web"),
		}},
		"CRI-O": {fixture(t, "crio-containers.json"), []finding{
			named("cri-o", "9c3a1e5b7d2f4a6c8e0b1d3f5a7c9e1b3d5f7a9c1e3b5d7f9a1c3e5b7d9f1a3c", "k8s_POD_"+pod, "k8s_"+pod),
			named("cri-o", "2f6d8b0a4c6e8f1a3b5d7f9c1e3a5b7d9f1c3e5a7b9d1f3c5e7a9b1d3f5c7e9a", "k8s_nginx_"+pod),
		}},
		"metadata of others":  {`[{"id":"a","metadata":"hello"},{"id":"b","names":null}]`, []finding{named("podman", "a"), named("podman", "b")}},
		"none":                {"[]", []finding{}},
		"none, not even that": {"null", []finding{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseStored([]byte(tt.text)); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
	for _, text := range []string{"", "hello", "{}", `[{"id":7}]`, `[{"id":"a","names":"b"}]`, `[{"id":"a"}`} {
		if got, err := parseStored([]byte(text)); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func TestParseIsula(t *testing.T) {
	found := func(id string, pid int, name string) finding {
		return finding{Container: Container{ID: id, PID: pid, Names: []string{name}, Engine: "isulad"}}
	}
	for name, tt := range map[string]struct {
		text string
		want []finding
	}{
		"padded columns": {fixture(t, "isula-ps.txt"), []finding{
			found("6be3c4fd2c1f4fb1a1b0d3d9f5e1d3f0a6a9c1d7e8b2c4f6a8d0e2f4b6c8d0e2", 17097, "web"),
			found("d4a1f7c2b3e5968707a6b5c4d3e2f1a09f8e7d6c5b4a39281706f5e4d3c2b1a0", 17815, "system-1"),
		}},
		"empty lines":         {"\n   \na 7 b\n\n", []finding{found("a", 7, "b")}},
		"no newline, tabs":    {"a\t7\tb", []finding{found("a", 7, "b")}},
		"carriage returns":    {"a 7 b\r\n", []finding{found("a", 7, "b")}},
		"none runs":           {"a - b\nc   -   d  \n", nil},
		"no process, no name": {"a -\n", nil},
		"empty":               {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseIsula(tt.text); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
	for _, text := range []string{
		"hello\n", "a 7\n", "a 7 b c\n", "a 7 b\nError response from daemon: x\n", "ID  PID  NAMES\n", "a 7.5 b\n", "a/b 7 c\n",
		"a 99999999999999999999 b\n", strings.Repeat("a", 300) + " 7 b\n", strings.Repeat("x ", 5000),
	} {
		got, err := parseIsula(text)
		if err == nil || got != nil || len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.50q: got %+v, %v; want an error in one short line", text, got, err)
		}
	}
}

func TestTaskNames(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"CRI":              {fixture(t, "cri-config.json"), []string{"default/nginx-7c5ddbdf54-x2v9k/nginx"}},
		"the sandbox":      {fixture(t, "cri-sandbox-config.json"), nil},
		"nerdctl":          {fixture(t, "nerdctl-config.json"), []string{"web"}},
		"ctr":              {`{"ociVersion":"1.0.2-dev","root":{"path":"rootfs"}}`, nil},
		"half a file":      {fixture(t, "nerdctl-config.json")[:200], nil},
		"empty annotation": {`{"annotations":{"nerdctl/name":""}}`, nil},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "config.json"), tt.text)
		if got := taskNames(dir); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if got := taskNames(t.TempDir()); got != nil {
		t.Errorf("no file: got %q", got)
	}
}
