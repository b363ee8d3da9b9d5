//go:build integration

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
)

const intro = `An operator's whole way with Palisade: its packages are installed into a clean root with systemd, containers are run by runc and by
Docker, everything that serves them is killed, restarted, upgraded and booted again under their eyes, and the packages are removed.`

// story is what the steps share.
type story struct {
	*testing.T
	*machine
	packager
	// directory has the packages, as the machine sees it.
	directory string
	report    *report
	now       *step
	// before is what was in the root before anything was installed.
	before map[string]bool
	system *guest // runs by runc
	web    *guest // runs by Docker
}

// part is a step of the report.
type part struct {
	title, why string
	tell       func(*story)
}

// TestStory is all of it.
func TestStory(t *testing.T) {
	cgroups := "v1"
	if ctr.OnV2() {
		cgroups = "v2"
	}
	tellStory(t, debs, &report{title: "From the packages to nothing, on cgroup " + cgroups, path: "e2e-" + cgroups, intro: intro}, []part{
		{"Install", "Five packages, with dpkg, into a root that knows none of them. No service is started or enabled by that.", (*story).install},
		{"Start", "The services are enabled and started. The policies as installed are said to be provisional.", (*story).start},
		{"Certificates and policies", "alice may do everything, bob may look. dockerd is told to ask.", (*story).wire},
		{"A system container by runc", "Its root is an ordinary user of the host, and `hookspec.json` gives it its own `/proc`.", (*story).runRunc},
		{"A system container by Docker", "The same, by a `dockerd` that listens with TLS and asks authz-broker.", (*story).runDocker},
		{"Every file", "Each file that lxcfs serves is the container's own, inside of both.", (*story).checkFiles},
		{"Owners outside", "What is root inside is no root outside.", (*story).checkOwners},
		{"Who may do what", "By the names in the TLS certificates.", (*story).checkUsers},
		{"Kill", "Everything is killed, while both containers read.", (*story).killAll},
		{"Restart and reload", "Everything is restarted by its unit, while both containers read.", (*story).restartAll},
		{"Metrics", "Both services tell Prometheus what they do, at sockets and, with drop-ins, at addresses.", (*story).turnMetricsOn},
		{"Upgrade", "All packages at once, while both containers read.", (*story).upgrade},
		{"Boot", "The machine is shut down and booted: the services come before the engine, and its containers come back.", (*story).bootAgain},
		{"Stop and start", "A stop for good gives containers the host's files, and a start gives them their own again.", (*story).stopAndStart},
		{"Remove", "The packages go while containers run; these get the host's files, and only configuration is left.", (*story).remove},
		{"Purge", "Nothing is left.", (*story).purge},
	})
}

// tellStory tells one, in a machine of its own. A step that fails is the last.
func tellStory(t *testing.T, p packager, r *report, parts []part) {
	r.path = filepath.Join(cmp.Or(os.Getenv("PALISADE_REPORT"), "../../dist/report"), r.path+".md")
	s := &story{T: t, machine: newMachine(t), packager: p, report: r}
	t.Cleanup(func() { t.Log("the report is " + r.path) })
	for _, part := range parts {
		if !s.tell(part.title, part.why, part.tell) {
			return
		}
	}
}

// tell tells one step.
func (s *story) tell(title, why string, tell func(*story)) (ok bool) {
	s.now = &step{title: title, why: why}
	s.report.steps = append(s.report.steps, s.now)
	started := time.Now()
	defer func() {
		s.now.took, s.now.ended = time.Since(started), !s.Failed() || s.now.failures > 0
		if s.Failed() {
			s.now.failures = max(s.now.failures, 1)
			s.explain()
		}
		s.Logf("%-28s %s, %.1f s", title, s.now.result(), s.now.took.Seconds())
		if err := s.report.write(); err != nil {
			s.Error(err)
		}
		ok = !s.Failed()
	}()
	tell(s)
	return
}

// explain adds what may tell why a step has failed.
func (s *story) explain() {
	if s.pid == "" {
		return
	}
	for _, args := range [][]string{
		{"journalctl", "--no-pager", "--quiet", "-o", "short-monotonic", "-n", "60"}, {"systemctl", "list-jobs", "--no-pager"}, {"ps", "-ef"},
	} {
		out, err := s.run(args...)
		s.now.command(strings.Join(args, " "), out, err, 0)
		s.Logf("%s: %s", args[0], out)
	}
	s.Logf("systemd: %s", s.log.String())
}

// do runs a command, which has to succeed, and reports it.
func (s *story) do(args ...string) string {
	s.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.now.failures++
		s.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

// try runs a command, which may fail, and reports it.
func (s *story) try(args ...string) (string, error) {
	started := time.Now()
	out, err := s.run(args...)
	s.now.command(commandLine(args), out, err, time.Since(started))
	return out, err
}

// commandLine is a command as one types it.
func commandLine(args []string) string {
	var words []string
	for _, arg := range args {
		if strings.ContainsAny(arg, " \n;$*'\"|&<>(){}") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// see reports whether something is as it should be.
func (s *story) see(ok bool, format string, args ...any) {
	s.Helper()
	what := fmt.Sprintf(format, args...)
	s.now.seen(ok, what)
	if !ok {
		s.Error("it is not so: " + what)
	}
}

// waitFor waits until something is so.
func (s *story) waitFor(what string, is func() bool) {
	s.Helper()
	started := time.Now()
	for !is() {
		time.Sleep(10 * time.Millisecond)
		if time.Since(started) > waitTime {
			s.now.seen(false, what)
			s.Fatalf("timed out waiting for: %s", what)
		}
	}
	s.now.seen(true, fmt.Sprintf("%s, after %.1f s", what, time.Since(started).Seconds()))
}

// file writes a file, and reports it.
func (s *story) file(name, text string) {
	s.Helper()
	if err := s.write(name, text); err != nil {
		s.Fatal(err)
	}
	fmt.Fprintf(&s.now.text, "`%s` is\n\n```\n%s\n```\n\n", name, strings.TrimRight(text, "\n"))
}
