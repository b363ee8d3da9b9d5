package install

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
)

// systemd is a connection to the service manager.
type systemd struct{ *dbus.Conn }

// errNoSystemd is the error for a host whose init is another program.
var errNoSystemd = errors.New("the host does not run systemd")

// connect connects to systemd by its own socket, which needs no D-Bus daemon, or else by the bus.
func connect(ctx context.Context) (*systemd, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // sd_booted(3)
		return nil, errNoSystemd
	}
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		conn, err = dbus.NewSystemConnectionContext(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	// For the results of jobs.
	if err := conn.Subscribe(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("subscribe to signals of systemd: %w", err)
	}
	return &systemd{conn}, nil
}

// unitState is what systemd knows about a unit.
type unitState struct {
	isLoaded, isActive bool
	mainPID            int
	// command is its command line.
	command []string
}

func (s *systemd) state(ctx context.Context, unit string) (u unitState, err error) {
	properties, err := s.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return u, fmt.Errorf("read the properties of %s: %w", unit, err)
	}
	u.isLoaded = properties["LoadState"] == "loaded"
	active := properties["ActiveState"]
	u.isActive = active == "active" || active == "reloading"
	pid, _ := properties["MainPID"].(uint32)
	u.mainPID = int(pid)
	// ExecStart is of the type a(sasbttttuii): the program, its arguments, ...
	if commands, _ := properties["ExecStart"].([][]any); len(commands) > 0 && len(commands[0]) > 1 {
		u.command, _ = commands[0][1].([]string)
	}
	return u, nil
}

// job is the method of a dbus.Conn for a job.
type job func(ctx context.Context, unit, mode string, result chan<- string) (int, error)

// run runs a job for a unit, and waits until it ends. verb names it in errors.
func (s *systemd) run(ctx context.Context, verb string, do job, unit string) error {
	result := make(chan string, 1)
	if _, err := do(ctx, unit, "replace", result); err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, err)
	}
	select {
	case r := <-result:
		if r != "done" {
			return fmt.Errorf("%s %s: %s: see journalctl --unit %[2]s", verb, unit, r)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", verb, unit, context.Cause(ctx))
	}
}

// start starts a unit, unless it is active.
func (s *systemd) start(ctx context.Context, unit string) error {
	if u, err := s.state(ctx, unit); err != nil || u.isActive {
		return err
	}
	if err := s.run(ctx, "start", s.StartUnitContext, unit); err != nil {
		return err
	}
	u, err := s.state(ctx, unit)
	if err == nil && !u.isActive {
		err = fmt.Errorf("start %s: its conditions failed: see systemctl status %[1]s", unit)
	}
	return err
}
