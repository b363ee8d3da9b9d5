package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/sys"
)

const (
	// systemctlTime bounds the time that systemctl takes.
	systemctlTime = 5 * time.Second
	// restartTime bounds the time of restarts without success, during which readers wait.
	restartTime = 30 * time.Second
)

func poststopCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "poststop",
		Usage:     "unmount lxcfs everywhere after the daemon has ended, unless systemd restarts it",
		ArgsUsage: "UNIT",
		Description: "For ExecStopPost of the systemd unit UNIT, which keeps the daemon's files " +
			"(FileDescriptorStoreMax). If systemd restarts the daemon, lxcfs stays mounted, and readers " +
			"wait for the new daemon. Otherwise lxcfs is unmounted from all containers and from its " +
			"mount points: containers read the host's files. The same happens if the daemon's command " +
			"line is wrong, or if the daemon has not served for half a minute.",
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() != 1 {
				return cmdline.UsageError{Err: errors.New("want one UNIT")}
			}
			if err := options.NeedRoot(); err != nil {
				return err
			}
			if !isChild() {
				return runInChild(ctx.Context, 0)
			}
			e := ending{
				unit: ctx.Args().First(), result: os.Getenv("SERVICE_RESULT"), code: os.Getenv("EXIT_CODE"),
				status: os.Getenv("EXIT_STATUS"), lastServing: probe.LastServing(g.Mountpoint),
			}
			again, err := e.startsAgain(ctx.Context)
			if err != nil {
				g.Log.Warn("unknown whether systemd restarts the daemon", "err", err)
			}
			if again {
				return nil
			}
			return g.poststop(ctx.Context, e)
		},
	}
}

// poststop unmounts lxcfs, unless another daemon serves it: then the unit may have failed because
// of that daemon.
func (g *globals) poststop(ctx context.Context, e ending) error {
	t := g.toolkit()
	if e.hasFailed() {
		found, err := t.Look(ctx)
		if err != nil {
			return err
		}
		if found.State == probe.Healthy {
			g.Log.Warn("another lxcfs serves", "mountpoint", t.Mountpoint, "pid", found.PID)
			return nil
		}
	}
	report, err := t.Poststop(ctx, toolkit.Selection{Jobs: 8, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	return report.Err()
}

// ending holds the environment of ExecStopPost (systemd.exec(5)): SERVICE_RESULT, which is empty
// without systemd, and EXIT_CODE and EXIT_STATUS of the daemon.
type ending struct {
	unit, result, code, status string
	// lastServing is the time on CLOCK_MONOTONIC at which a daemon last began to serve.
	lastServing time.Duration
}

func (e ending) hasFailed() bool { return e.result != "" && e.result != "success" }

// startsAgain reports whether systemd will start the unit again, so that readers can wait for it.
// It depends on the result, on jobs of the unit, on the time since it was active, and on Restart
// (systemd.service(5)): with "always" systemd restarts it unless a user stops it.
func (e ending) startsAgain(ctx context.Context) (bool, error) {
	// The daemon has rejected its command line, as the next one would.
	isMistake := e.hasFailed() && e.code == "exited" && e.status == strconv.Itoa(cmdline.ExitUsage)
	if e.result == "" || isMistake {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, systemctlTime)
	defer cancel()
	jobs, err := systemctl(ctx, "list-jobs", "--no-legend", "--plain", "--full", e.unit)
	if err != nil {
		return e.hasFailed(), err
	}
	job := ""
	for line := range strings.Lines(jobs) { // the number, the unit, the type and the state of a job
		if fields := strings.Fields(line); len(fields) >= 3 && fields[1] == e.unit {
			job = fields[2]
		}
	}
	if job == "stop" {
		return false, nil
	}
	unit, err := systemctl(ctx, "show", "--property", "Restart,"+activeExit, e.unit)
	switch {
	case err != nil:
		return e.hasFailed() || job != "", err
	case e.hasFailed() && e.downtime(unit) > restartTime:
		return false, nil
	case job != "":
		return true, nil // to start or restart it
	}
	switch property(unit, "Restart") {
	case "always":
		return true, nil
	case "no":
		return false, nil
	}
	return e.hasFailed(), nil
}

// property returns a property of a unit in the output of systemctl show, "" if it is missing.
func property(unit, name string) string {
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// activeExit is the property with the time at which the unit last stopped being active, in
// microseconds of CLOCK_MONOTONIC, 0 if it never was.
const activeExit = "ActiveExitTimestampMonotonic"

// downtime returns the time since the unit was last active or, if that is later, since a daemon
// began to serve: a daemon that ends before ExecStartPost does leaves the unit inactive. It returns
// 0 if systemd does not know when the unit was active.
func (e ending) downtime(unit string) time.Duration {
	left, err := strconv.ParseInt(property(unit, activeExit), 10, 64)
	if err != nil || left <= 0 {
		return 0
	}
	return sys.Monotonic() - max(time.Duration(left)*time.Microsecond, e.lastServing)
}

func systemctl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w", args[0], err)
	}
	return string(out), nil
}
