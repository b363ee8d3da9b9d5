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
	"palisade/test/engine"
)

const intro = `The packages of Palisade are installed into a clean root with systemd, containers are run by runc and by
Docker, the services are killed, restarted, upgraded and rebooted under them, and the packages are removed.`

// story is the state that the steps share.
type story struct {
	*testing.T
	*engine.Machine
	packager
	// directory is the machine's path of the packages.
	directory string
	report    *report
	now       *step
	// failed has the failures, which are repeated at the end, after logs and processes.
	failed []string
	// before has the files in the root before the first installation.
	before map[string]bool
	system *guest // run by runc
	web    *guest // run by Docker
	// hasCalls reports that the container of runCalls runs.
	hasCalls bool
}

// part is a step of the report.
type part struct {
	title, why string
	run        func(*story)
}

// TestStory runs all steps with debs.
func TestStory(t *testing.T) {
	cgroups := "v1"
	if ctr.OnV2() {
		cgroups = "v2"
	}
	runStory(t, debs, &report{title: "From the packages to nothing, on cgroup " + cgroups, path: "e2e-" + cgroups, intro: intro}, []part{
		{"Install", "All packages, with dpkg, into a clean root. This neither starts nor enables a service.", (*story).install},
		{"Start", "The services are enabled and started. The broker warns of the policies as installed.", (*story).start},
		{"Certificates and policies", "alice may do everything, bob may only read. dockerd uses authz-broker.", (*story).wire},
		{"A system container by runc", "Its root is an unprivileged user of the host, and `hookspec.json` gives it its own `/proc`.", (*story).runRunc},
		{"A system container by Docker", "The same, with a `dockerd` that listens with TLS and asks authz-broker.", (*story).runDocker},
		{"A container with views", "It makes system calls, which lxcfs answers, from here to the boot.", (*story).runCalls},
		{"Every file", "Each file that lxcfs serves shows the container's values, in both.", (*story).checkFiles},
		{"Owners", "Root in a container is not root on the host.", (*story).checkOwners},
		{"Authorization", "By the names in the TLS certificates.", (*story).checkUsers},
		{"A front", "It names clients of its unix socket, and applies the policies before dockerd.", (*story).checkFront},
		{"Kill", "Everything is killed, while both containers read.", (*story).killAll},
		{"Restart and reload", "Everything is restarted by its unit, while both containers read.", (*story).restartAll},
		{"Metrics", "Both services serve metrics for Prometheus on sockets and, with drop-ins, on TCP addresses.", (*story).turnMetricsOn},
		{"Upgrade", "All packages at once, while both containers read.", (*story).upgrade},
		{"Boot", "The machine is shut down and booted: the services start before the engine, which restarts its containers.", (*story).bootAgain},
		{"Stop and start", "Stopping lxcfs gives containers the host's files, and starting it gives them their own again.", (*story).stopAndStart},
		{"Remove", "The packages are removed while containers run; these get the host's files, and only configuration remains.", (*story).remove},
		{"Purge", "No file remains.", (*story).purge},
	})
}

// runStory runs the steps in a new machine, up to the first that fails.
func runStory(t *testing.T, p packager, r *report, parts []part) {
	r.path = filepath.Join(cmp.Or(os.Getenv("PALISADE_REPORT"), "../../dist/report"), r.path+".md")
	s := &story{T: t, Machine: engine.NewMachine(t, "testdata/root.sh"), packager: p, report: r}
	t.Cleanup(func() {
		for _, failure := range s.failed {
			t.Log(failure)
		}
		t.Log("the report is " + r.path)
	})
	for _, part := range parts {
		if !s.runStep(part.title, part.why, part.run) {
			return
		}
	}
}

// runStep runs a step, and writes the report so far.
func (s *story) runStep(title, why string, run func(*story)) (ok bool) {
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
	run(s)
	return
}

// explain adds logs to the report on a failed step.
func (s *story) explain() {
	if !s.IsOn() {
		return
	}
	for _, args := range [][]string{
		{"journalctl", "--no-pager", "--quiet", "-o", "short-monotonic", "-n", "60"}, {"systemctl", "list-jobs", "--no-pager"}, {"ps", "-ef"},
	} {
		out, err := s.Exec(args...)
		s.now.command(strings.Join(args, " "), out, err, 0)
		s.Logf("%s: %s", args[0], out)
	}
	s.Logf("systemd: %s", s.Console())
}

// do runs and reports a command, which must succeed.
func (s *story) do(args ...string) string {
	s.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.now.failures++
		s.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

// try runs and reports a command, which may fail.
func (s *story) try(args ...string) (string, error) {
	started := time.Now()
	out, err := s.Exec(args...)
	s.now.command(commandLine(args), out, err, time.Since(started))
	return out, err
}

// commandLine returns a command quoted for a shell.
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

// check reports the result of a check.
func (s *story) check(ok bool, format string, args ...any) {
	s.Helper()
	what := fmt.Sprintf(format, args...)
	s.now.seen(ok, what)
	if !ok {
		s.Errorf("check failed: %s", what)
	}
}

// Errorf is T's, and keeps the failure for the end of the log.
func (s *story) Errorf(format string, args ...any) {
	s.Helper()
	s.failed = append(s.failed, fmt.Sprintf(format, args...))
	s.T.Errorf(format, args...)
}

// Fatalf is T's, and keeps the failure for the end of the log.
func (s *story) Fatalf(format string, args ...any) {
	s.Helper()
	s.failed = append(s.failed, fmt.Sprintf(format, args...))
	s.T.Fatalf(format, args...)
}

// waitFor waits for a condition, and reports it.
func (s *story) waitFor(what string, is func() bool) {
	s.Helper()
	started := time.Now()
	for !is() {
		time.Sleep(10 * time.Millisecond)
		if time.Since(started) > engine.WaitTime {
			s.now.seen(false, what)
			s.Fatalf("timed out waiting for: %s", what)
		}
	}
	s.now.seen(true, fmt.Sprintf("%s, after %.1f s", what, time.Since(started).Seconds()))
}

// file writes and reports a file.
func (s *story) file(name, text string) {
	s.Helper()
	if err := s.WriteFile(name, text); err != nil {
		s.Fatal(err)
	}
	fmt.Fprintf(&s.now.text, "`%s` is\n\n```\n%s\n```\n\n", name, strings.TrimRight(text, "\n"))
}
