package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/internal/linux/sys"
)

const (
	isuladID = "6be3c4fd2c1f4fb1a1b0d3d9f5e1d3f0a6a9c1d7e8b2c4f6a8d0e2f4b6c8d0e2"
	noClient = "echo 'Can not connect with server.' >&2\nexit 1"
)

// container writes the state of one of iSulad's containers below dir, as iSulad does.
func (h *host) container(dir, name string, running bool, pid int) {
	h.t.Helper()
	h.write(filepath.Join(dir, isuladState),
		fmt.Sprintf(`{"Running":%v,"Pid":%d,"ExitCode":0}`, running, pid))
	h.write(filepath.Join(dir, "config.v2.json"), fmt.Sprintf(`{"CommonConfig":{"Name":%q}}`, name))
}

// TestIsuladFiles finds containers whose client cannot connect, or does not name them, by iSulad's
// own files, and says so.
func TestIsuladFiles(t *testing.T) {
	const engines = "lib/isulad/engines/"
	for name, tt := range map[string]struct {
		script, config, dir string
		want                []string
	}{
		"no unix socket": {noClient, `{"hosts":["tcp://127.0.0.1:2375"]}`, engines,
			[]string{"isulad: isula ps: exit status 1", "containers are read from ", "lib/isulad/engines"}},
		"no client":                    {"", "", engines, nil},
		"a client that prints nothing": {"exit 0", "", engines, nil},
		"lcrd":                         {"", "", "lib/lcrd/engines/", nil},
		"another graph, the first of 2": {"", `{"graph":"DIR/g[1]","graph":"/var/lib/isulad"}`,
			"g[1]/engines/", nil},
		"a graph by an option": {"", "OPTIONS", "g/engines/", nil},
		"a configuration that is cut": {"", `{"graph":`, engines,
			[]string{"isulad's files: ", "etc/isulad/daemon.json: \"graph\": EOF"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			p, ended := start(t), start(t)
			ended.end()
			h.container(tt.dir+"lcr/"+isuladID, "web", true, p.pid)
			h.container(tt.dir+"runc/stopped", "old", false, 0)
			h.container(tt.dir+"runc/ended", "crashed", true, ended.pid)
			if tt.script != "" {
				h.isula(tt.script)
			}
			if tt.config == "OPTIONS" {
				h.write("etc/sysconfig/iSulad", "OPTIONS='-g "+h.dir+"/g'\n")
			} else if tt.config != "" {
				h.write("etc/isulad/daemon.json", strings.ReplaceAll(tt.config, "DIR", h.dir))
			}
			want := []Container{{ID: isuladID, Names: []string{"web"}, Engine: "isulad", PID: p.pid}}
			if tt.want == nil {
				h.check(want)
			} else {
				h.check(want, tt.want)
			}
		})
	}
}

// TestIsuladFilesAndClient merges a container in files with the same one of the client.
func TestIsuladFilesAndClient(t *testing.T) {
	h := newHost(t)
	p := start(t)
	h.container("lib/isulad/engines/lcr/"+isuladID, "web", true, p.pid)
	h.isula(fmt.Sprintf("echo %s %d web", isuladID, p.pid))
	h.check([]Container{{ID: isuladID, Names: []string{"web"}, Engine: "isulad", PID: p.pid}})
}

// TestIsuladNowhere has neither a client that connects nor files.
func TestIsuladNowhere(t *testing.T) {
	h := newHost(t)
	h.isula(noClient)
	h.check(nil, []string{"isulad: isula ps: ", "engines does not exist"})
}

// TestIsuladReused ignores a pid that was reused after the file was written.
func TestIsuladReused(t *testing.T) {
	h := newHost(t)
	p := start(t)
	h.container("lib/isulad/engines/lcr/"+isuladID, "web", true, p.pid)
	old := time.Now().Add(-sys.SinceBoot() - time.Hour)
	file := h.path("lib/isulad/engines/lcr/" + isuladID + "/" + isuladState)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	h.check(nil)
}

// TestIsuladOddFiles reports invalid files, and finds the other containers.
func TestIsuladOddFiles(t *testing.T) {
	for name, text := range map[string]string{
		"half-written": `{"Running":true,"Pi`, "empty": "", "an array": "[]", "nothing": "{}",
		"no pid": `{"Running":true}`, "a negative pid": `{"Running":true,"Pid":-4}`,
		"a text":     `{"Running":true,"Pid":"7"}`,
		"a huge pid": `{"Running":true,"Pid":99999999999999999999}`, "fifo": "fifo",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			p := start(t)
			h.container("lib/isulad/engines/lcr/"+isuladID, "web", true, p.pid)
			h.write("lib/isulad/engines/lcr/"+isuladID+"/config.v2.json", text)
			if file := "lib/isulad/engines/lcr/odd/" + isuladState; text == "fifo" {
				fifo(t, h.path(file))
			} else {
				h.write(file, text)
			}
			h.check([]Container{{ID: isuladID, Engine: "isulad", PID: p.pid}},
				[]string{"isulad's files: ", "odd/" + isuladState})
		})
	}
}

func FuzzParseIsuladState(f *testing.F) {
	for _, text := range []string{`{"Running":true,"Pid":7}`, `{"Running":false,"Pid":0}`, `{"Pid":1}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if pid, err := parseIsuladState([]byte(text)); err == nil && pid != -1 && pid <= 0 {
			t.Errorf("got %d", pid)
		}
		if names := parseIsuladName([]byte(text)); slices.Contains(names, "") {
			t.Error("an empty name")
		}
	})
}
