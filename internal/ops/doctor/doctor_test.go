package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

// scenario is a world, and what is wrong in it.
type scenario struct {
	name  string
	files files
	edit  func(t testing.TB, w *World)
	// want are the findings that are not fine.
	want []string
	// remedy is in one of the remedies.
	remedy string
}

// probed is an edit that has lxcfs be found so.
func probed(result probe.Result) func(testing.TB, *World) {
	return func(_ testing.TB, w *World) {
		w.Probe = func(context.Context, string) (probe.Result, error) { return result, nil }
	}
}

// mounted is an edit that makes probes find the results at their mount points, and nothing
// elsewhere.
func mounted(results map[string]probe.Result) func(testing.TB, *World) {
	return func(_ testing.TB, w *World) {
		w.Probe = func(_ context.Context, mountpoint string) (probe.Result, error) {
			if result, ok := results[mountpoint]; ok {
				return result, nil
			}
			return probe.Result{State: probe.NotMounted, Reason: "nothing is mounted there"}, nil
		}
	}
}

// both is an edit that makes two.
func both(one, two func(testing.TB, *World)) func(testing.TB, *World) {
	return func(t testing.TB, w *World) {
		one(t, w)
		two(t, w)
	}
}

// listed is an edit that has these containers run.
func listed(list toolkit.List) func(testing.TB, *World) {
	return func(_ testing.TB, w *World) {
		w.List = func(context.Context) (toolkit.List, error) { return list, nil }
	}
}

// without is an edit that takes features from the kernel.
func without(missing ...string) func(testing.TB, *World) {
	return func(_ testing.TB, w *World) {
		w.kernel = func(id string) error {
			if slices.Contains(missing, id) {
				return errors.New("function not implemented")
			}
			return nil
		}
	}
}

// only is an edit that wants certain engines.
func only(engines ...string) func(testing.TB, *World) {
	return func(_ testing.TB, w *World) { w.Engines = engines }
}

// answering returns an edit that starts a broker at a socket; listening returns one that only opens
// the socket, as systemd does.
func answering(socket string) func(testing.TB, *World) {
	return func(t testing.TB, w *World) { go http.Serve(listen(t, w, socket), http.NotFoundHandler()) }
}

func listening(socket string) func(testing.TB, *World) {
	return func(t testing.TB, w *World) { listen(t, w, socket) }
}

func listen(t testing.TB, w *World, socket string) net.Listener {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(socket)), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", w.path(socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func allScenarios() []scenario {
	return slices.Concat(hostScenarios, lxcfsScenarios, containerScenarios, isuladScenarios,
		isuladAccessScenarios, hooksDirScenarios, dockerScenarios, containerdScenarios,
		besideScenarios, lxcScenarios,
		frontScenarios, policyScenarios, usernsScenarios, nriScenarios)
}

// TestFindings makes worlds in which something is wrong. Every kind of finding in the documents is
// met, and has the level that they name.
func TestFindings(t *testing.T) {
	levels := documented(t)
	met := map[string]bool{"check-incomplete": true} // met by TestCheckIncomplete
	for _, s := range allScenarios() {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t, s.files)
			if s.edit != nil {
				s.edit(t, w)
			}
			r := Examine(t.Context(), w)
			if got := found(r); !slices.Equal(got, s.want) {
				t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(s.want, "\n  "))
			}
			var remedies []string
			for _, f := range r.Findings {
				met[f.ID] = true
				remedies = append(remedies, f.Remedy)
				if (f.Remedy == "") != (f.Level == OK) || f.Subject == "" || f.Problem == "" || f.Level != levels[f.ID] {
					t.Errorf("not whole: %+v", f)
				}
				if text := f.Subject + f.Problem + f.Remedy; strings.Contains(text, w.Root) || strings.ContainsAny(text, "\n\x1b") {
					t.Errorf("not for people: %+v", f)
				}
			}
			if !strings.Contains(strings.Join(remedies, "\n"), s.remedy) {
				t.Errorf("%q is in none of the remedies:\n%s", s.remedy, strings.Join(remedies, "\n"))
			}
			if r.HasProblems() != (r.Count(Warning)+r.Count(Error) > 0) {
				t.Error("HasProblems is wrong")
			}
		})
	}
	for id := range levels {
		if !met[id] {
			t.Errorf("no world has the finding %s of docs/palisade.md", id)
		}
	}
}

// TestCheckIncomplete has checks that hang, fail and break off: the others are made all the same,
// in time.
func TestCheckIncomplete(t *testing.T) {
	w := newWorld(t)
	w.limit = 2 * time.Second
	forever := make(chan struct{})
	defer close(forever)
	w.Probe = func(context.Context, string) (probe.Result, error) {
		<-forever
		return probe.Result{}, nil
	}
	w.List = func(context.Context) (toolkit.List, error) { panic("a mistake") }
	started := time.Now()
	r := Examine(t.Context(), w)
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if got, want := found(r), []string{"check-incomplete lxcfs", "check-incomplete containers"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if r.Count(OK) < 3 {
		t.Errorf("the other checks were not made: %+v", r.Findings)
	}
	w = newWorld(t)
	w.Probe = func(context.Context, string) (probe.Result, error) {
		return probe.Result{}, errors.New("no /proc")
	}
	w.List = func(context.Context) (toolkit.List, error) { return toolkit.List{}, errors.New("no /proc") }
	if got := found(Examine(t.Context(), w)); len(got) != 2 {
		t.Errorf("found %q, want two checks that could not be made", got)
	}
}

// TestOddFiles puts what is no file of configuration in the place of each: a finding that names it,
// no wait, no panic.
func TestOddFiles(t *testing.T) {
	configs := []string{"/etc/isulad/daemon.json", "/etc/containers/containers.conf", "/etc/crio/crio.conf", "/etc/docker/daemon.json",
		"/etc/containerd/config.toml", "/usr/share/containers/oci/hooks.d/x.json", "/etc/subuid", "/var/lib/authz-broker/policy.json"}
	for name, content := range map[string]string{
		"fifo": "fifo", "dir": "dir", "loop": "->.", "huge": strings.Repeat(" ", maxConfig+1),
		"garbage": "\x00\xff{[",
		"cut":     `{"a":`, "list": "[1]", "number": "7 8", "deep": strings.Repeat("[", 100000), "device": "->/dev/zero",
	} {
		for _, file := range configs {
			t.Run(name+file, func(t *testing.T) {
				text := content
				if name == "list" && !strings.HasSuffix(file, "json") {
					text = "[" // [1] is TOML
				}
				if name == "loop" {
					text = "->" + filepath.Base(file)
				}
				if file == "/var/lib/authz-broker/policy.json" && name == "huge" {
					text = strings.Repeat(" ", 65<<20)
				}
				w := newWorld(t, files{file: text, "/usr/bin/podman": "", "/usr/bin/crio": ""})
				started := time.Now()
				r := Examine(t.Context(), w)
				if took := time.Since(started); took > 15*time.Second {
					t.Errorf("it took %v", took)
				}
				if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
					return f.Subject == file && (f.ID == "config-broken" || f.ID == "subid-broken" || f.ID == "policy-broken")
				}) {
					t.Errorf("%s is not named: %q", file, found(r))
				}
			})
		}
	}
}

// TestHostileNames has containers whose ids and names would do something with terminals and shells.
func TestHostileNames(t *testing.T) {
	const evil = "\x1b[2J\n\u202e'; rm -rf /; '"
	w := newWorld(t)
	var containers []toolkit.Listed
	for i := range maxNamed + 5 {
		containers = append(containers, toolkit.Listed{ID: fmt.Sprint(evil, i), Names: []string{evil}, Dead: []string{"/" + evil}})
	}
	listed(toolkit.List{Containers: containers, Skipped: []engine.Skipped{{Source: evil, Error: evil}}})(t, w)
	r := Examine(t.Context(), w)
	dead := 0
	for _, f := range r.Findings {
		if strings.ContainsAny(f.Subject+f.Problem+f.Remedy, "\x1b\n\u202e") {
			t.Errorf("printed as it is: %+q", fmt.Sprint(f))
		}
		if f.ID == "container-files-dead" {
			dead++
			if want := "lxcfs-toolkit remount --all"; f.Remedy != want {
				t.Errorf("the remedy is %q, want %q", f.Remedy, want)
			}
		}
	}
	if dead != maxNamed+1 {
		t.Errorf("%d containers are told of, want %d and one line for the rest", dead, maxNamed)
	}
}

// TestOptions has the options that say which lxcfs is meant in remedies, as words for a shell.
func TestOptions(t *testing.T) {
	w := newWorld(t)
	w.Mountpoint, w.Options = "/my mnt/it's", []string{"--mountpoint", "/my mnt/it's"}
	probed(probe.Result{State: probe.NotMounted, Reason: "nothing is mounted there"})(t, w)
	r := Examine(t.Context(), w)
	const quoted = `'/my mnt/it'\''s'`
	want := "lxcfs-toolkit --mountpoint " + quoted + " prestart && (lxcfs " + quoted +
		" >>/var/log/lxcfs.log 2>&1 &) && lxcfs-toolkit --mountpoint " + quoted + " remount --all"
	if f := r.Of(Error); len(f) != 1 || f[0].Remedy != want || !f[0].Command {
		t.Errorf("got %+v, want the remedy %s", f, want)
	}
}

// documented returns the kinds of findings in docs/palisade.md with their levels.
func documented(t *testing.T) map[string]Level {
	t.Helper()
	text, err := os.ReadFile("../../../docs/palisade.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9]+(?:-[a-z0-9]+)+)` \\| (ok|info|warning|error) \\| [^|]+ \\| [^|]+ \\|$")
	levels := make(map[string]Level)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		levels[m[1]] = Level(m[2])
	}
	return levels
}
