package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/probe"
	"palisade/internal/ops/doctor"
)

func statusCommand(g *globals) *cli.Command {
	var policyFile string
	return &cli.Command{
		Name:  "status",
		Usage: "show all parts of this host on one page",
		Description: "Shows each lxcfs, the number of running containers with its files, the engines " +
			"that call the hook, authz-broker and userns-shift, and the number of problems, which " +
			"doctor lists. The exit code is 0 if there are no warnings and errors, and 1 otherwise.",
		Flags: []cli.Flag{g.JSONFlag(), policyFlag(&policyFile)},
		Action: func(ctx *cli.Context) error {
			host, err := g.host(ctx, policyFile)
			if err != nil {
				return err
			}
			status := doctor.Examine(ctx.Context, host).Status()
			write := func(w io.Writer) { printStatus(w, status) }
			return g.printState(ctx, status, write, status.Healthy)
		},
	}
}

func printStatus(w io.Writer, s *doctor.Status) {
	part := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, cmdline.OneLine(fmt.Sprintf(format, args...)))
	}
	for i := range s.Lxcfs {
		part("lxcfs", "%s", lxcfsText(&s.Lxcfs[i]))
	}
	if len(s.Lxcfs) == 0 {
		part("lxcfs", "unknown")
	}
	if c := s.Containers; c == nil {
		part("containers", "unknown")
	} else {
		part("containers", "running: %d, with files of lxcfs: %d, without: %d, with dead files: %d%s",
			c.Running, c.WithFiles, c.WithoutFiles, c.DeadFiles, numberOr(", unknown: %d", c.Unknown))
	}
	for _, h := range s.Hooks {
		part("hook", "%s: %s", h.Engine, reachTexts[h.Containers])
	}
	if a := s.Authz; a != nil {
		part("authz-broker", "version %s, %s, asked by: %s, answers: %s", cmp.Or(a.Version, "unknown"),
			enabledTexts[a.Enabled],
			noneOr(a.AskedBy), noneOr(a.Answers))
		for _, f := range a.Fronts {
			part("front", "%s: %s, %s", f.Engine, enabledTexts[f.Enabled], answersTexts[f.Answers])
		}
	}
	if t := s.Shift; t != nil {
		part("userns-shift", "version %s, called by: %s", cmp.Or(t.Version, "unknown"),
			noneOr(t.CalledBy))
	}
	hint := ""
	if !s.Healthy {
		hint = " (palisade doctor lists them with their remedies)"
	}
	part("problems", "errors: %d, warnings: %d%s", s.Errors, s.Warnings, hint)
}

var (
	enabledTexts = map[bool]string{true: "enabled", false: "not enabled"}
	answersTexts = map[bool]string{true: "answers", false: "does not answer"}
)

// reachTexts describe the containers for which an engine calls the hook.
var reachTexts = map[string]string{
	"all": "called for all containers", "some": "called for containers that ask for it",
	"none": "not called", "broken": "the configuration has an error",
}

func lxcfsText(l *doctor.Lxcfs) string {
	text := fmt.Sprintf("%s: %s", strings.Join(l.Mountpoints, ", "), l.State)
	switch {
	case l.State != probe.Healthy:
		return text + ": " + l.Reason
	case l.Version == "":
		text += ", the C version or another lxcfs without a status"
	default:
		text += fmt.Sprintf(", version %s, up %v", l.Version,
			time.Duration(l.Uptime*float64(time.Second)).Round(time.Second))
	}
	text += numberOr(", process %d", l.PID)
	if l.IsOff {
		text += ", switched off by SIGUSR2"
	}
	return text
}

func numberOr(format string, n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

func noneOr(names []string) string { return cmp.Or(strings.Join(names, ", "), "none") }
