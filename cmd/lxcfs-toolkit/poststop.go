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

	"palisade/internal/cmdline"
	"palisade/internal/probe"
	"palisade/internal/sys"
	"palisade/internal/toolkit"
)

const (
	// systemctlTime is how long systemctl may take.
	systemctlTime = 5 * time.Second
	// restartTime is how long a daemon may be started again and again, while what reads waits for it.
	restartTime = 30 * time.Second
)

func poststopCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "poststop",
		Usage:     "give containers the host's files after the daemon has ended, unless it is started again",
		ArgsUsage: "UNIT",
		Description: "For ExecStopPost of the systemd unit UNIT, which keeps the daemon's files (FileDescriptorStoreMax): while it is " +
			"started again, what reads waits for it. Else lxcfs is taken out of all containers and off its mount point; so it is after " +
			"a mistake in the daemon's command line, and where it has not come up for half a minute.",
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() != 1 {
				return cmdline.UsageError{Err: errors.New("one UNIT is needed")}
			}
			if err := needRoot(); err != nil {
				return err
			}
			if !isChild() {
				return runInChild(ctx.Context, 0)
			}
			e := ending{
				unit: ctx.Args().First(), result: os.Getenv("SERVICE_RESULT"), code: os.Getenv("EXIT_CODE"),
				status: os.Getenv("EXIT_STATUS"), lastServing: probe.LastServing(g.mountpoint),
			}
			again, err := e.startsAgain(ctx.Context)
			if err != nil {
				g.log.Warn("it is not known whether the daemon is started again", "err", err)
			}
			if again {
				return nil
			}
			return g.poststop(ctx.Context, e)
		},
	}
}

// poststop gives containers the host's files, unless somebody else serves them, who may be why the unit has failed.
func (g *globals) poststop(ctx context.Context, e ending) error {
	t := g.toolkit()
	if e.hasFailed() {
		found, err := probe.Look(ctx, t.Mountpoint, toolkit.ProbeTime)
		if err != nil {
			return err
		}
		if found.State == probe.Healthy {
			g.log.Warn("another lxcfs serves", "mountpoint", t.Mountpoint, "pid", found.PID)
			return nil
		}
	}
	report, err := t.Poststop(ctx, toolkit.Selection{Jobs: 8, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	if n := report.Failed(); n > 0 {
		return fmt.Errorf("%d of %d containers failed", n, len(report.Results))
	}
	return nil
}

// ending is what systemd tells ExecStopPost of the end of a unit (systemd.exec(5)): SERVICE_RESULT, which is empty where there is no
// systemd; EXIT_CODE and EXIT_STATUS of the daemon.
type ending struct {
	unit, result, code, status string
	// lastServing is the time on CLOCK_MONOTONIC at which a daemon last began to serve.
	lastServing time.Duration
}

func (e ending) hasFailed() bool { return e.result != "" && e.result != "success" }

// isMistake tells that the daemon does not like its command line, which the next one would have, too.
func (e ending) isMistake() bool {
	return e.hasFailed() && e.code == "exited" && e.status == strconv.Itoa(cmdline.ExitUsage)
}

// startsAgain tells whether systemd will start the unit again, so that it is worth waiting for: by how it has ended, by its jobs, by
// how long it has not been active, and by Restart of systemd.service(5): with "always" it does unless somebody stops the unit.
func (e ending) startsAgain(ctx context.Context) (bool, error) {
	if e.result == "" || e.isMistake() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, systemctlTime)
	defer cancel()
	jobs, err := systemctl(ctx, "list-jobs", "--no-legend", "--plain", "--full", e.unit)
	if err != nil {
		return e.hasFailed(), err
	}
	job := jobOf(jobs, e.unit)
	if job == "stop" {
		return false, nil
	}
	unit, err := showUnit(ctx, e.unit)
	switch {
	case err != nil:
		return e.hasFailed() || job != "", err
	case e.hasFailed() && e.downtime(unit) > restartTime:
		return false, nil
	case job != "":
		return true, nil // to start or restart it
	}
	switch unit["Restart"] {
	case "always":
		return true, nil
	case "no":
		return false, nil
	}
	return e.hasFailed(), nil
}

// jobOf is the type of the unit's job, empty if it has none. Lines have the number, the unit, the type and the state of a job.
func jobOf(jobs, unit string) string {
	for line := range strings.Lines(jobs) {
		if fields := strings.Fields(line); len(fields) >= 3 && fields[1] == unit {
			return fields[2]
		}
	}
	return ""
}

// properties are those of a unit.
type properties map[string]string

// activeExit is when the unit has last ceased to be active, in microseconds of CLOCK_MONOTONIC, 0 if it has never been.
const activeExit = "ActiveExitTimestampMonotonic"

func showUnit(ctx context.Context, unit string) (properties, error) {
	text, err := systemctl(ctx, "show", "--property", "Restart,"+activeExit, unit)
	if err != nil {
		return nil, err
	}
	p := make(properties)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		p[key] = value
	}
	return p, nil
}

// downtime returns the time since the unit was last active or, if that is later, since a daemon
// began to serve: a daemon that ends before ExecStartPost does leaves the unit inactive. It returns
// 0 if systemd does not know when the unit was active.
func (e ending) downtime(unit properties) time.Duration {
	left, err := strconv.ParseInt(unit[activeExit], 10, 64)
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
