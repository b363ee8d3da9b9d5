package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/toolkit"
)

// systemctlTime is how long systemctl may take.
const systemctlTime = 5 * time.Second

func poststopCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "poststop",
		Usage:     "give containers the host's files after the daemon has ended, unless it is started again",
		ArgsUsage: "UNIT",
		Description: "For ExecStopPost of the systemd unit UNIT, which keeps the daemon's files (FileDescriptorStoreMax): while it is " +
			"started again, what reads waits for it. Else lxcfs is taken off its mount point and out of all containers.",
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() != 1 {
				return cmdline.UsageError{Err: errors.New("one UNIT is needed")}
			}
			if err := needRoot(); err != nil {
				return err
			}
			again, err := startsAgain(ctx.Context, ctx.Args().First(), os.Getenv("SERVICE_RESULT"))
			if err != nil {
				g.log.Warn("it is not known whether the daemon is started again", "err", err)
			}
			if again {
				return nil
			}
			report, err := g.toolkit().Poststop(ctx.Context, toolkit.Selection{Jobs: 8, Timeout: 10 * time.Second})
			if err != nil {
				return err
			}
			if n := report.Failed(); n > 0 {
				return fmt.Errorf("%d of %d containers failed", n, len(report.Results))
			}
			return nil
		},
	}
}

// startsAgain tells whether systemd will start the unit again: it restarts one that failed (Restart=always), and has a job
// for one that somebody restarts. The result is what it tells ExecStopPost (systemd.exec(5), SERVICE_RESULT).
func startsAgain(ctx context.Context, unit, result string) (bool, error) {
	switch result {
	case "":
		return false, nil // there is no systemd
	case "success":
	default:
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, systemctlTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "list-jobs", "--no-legend", "--plain", "--full", unit).Output()
	if err != nil {
		return false, fmt.Errorf("systemctl list-jobs: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		// The number, the unit, the type and the state of the job.
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[1] == unit && slices.Contains([]string{"start", "restart", "try-restart", "reload-or-start"}, fields[2]) {
			return true, nil
		}
	}
	return false, nil
}
