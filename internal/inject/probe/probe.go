// Package probe finds out whether an lxcfs is mounted and answers. A process that waits for a file
// system without an answer cannot always be killed. So a child process makes the first access, and
// is left behind if it hangs.
package probe

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"palisade/internal/inject/mounts"
	"palisade/internal/linux/sys"
)

// State is the state of an lxcfs.
type State string

// States of an lxcfs.
const (
	// NotMounted: no lxcfs is mounted there, or something else is mounted on top.
	NotMounted State = "not mounted"
	// Dead: the server of the mount is gone; every access fails.
	Dead State = "dead"
	// Wedged: the server does not answer in time.
	Wedged State = "wedged"
	// Healthy: the server answers.
	Healthy State = "healthy"
)

// Result describes the lxcfs on a mount point.
type Result struct {
	Mountpoint string `json:"mountpoint"`
	State      State  `json:"state"`
	// Reason is the reason why it is not healthy.
	Reason string `json:"reason,omitempty"`
	// PID is the process of the server, 0 if unknown.
	PID int `json:"pid,omitempty"`
	// Server is the status of the server, nil if it reports none, as the C version of lxcfs.
	Server *Status `json:"server,omitempty"`
	// Files are the served files for containers, relative to the mount point: "proc/meminfo".
	Files []string `json:"files,omitempty"`
	// Device is the device number of the mounted file system.
	Device sys.DeviceNumber `json:"-"`
}

// Status is the content of the file status at the top of the mount.
type Status struct {
	PID int `json:"pid"`
	// Worker is the process that serves now, if it is another one.
	Worker  int    `json:"worker,omitempty"`
	Version string `json:"version"`
	// Uptime is the time since it began to serve, in seconds.
	Uptime float64 `json:"uptime_seconds"`
	// Containers is the number of containers that have read a file or were looked up.
	Containers int `json:"containers"`
	// IsOff is set if containers read the host's files until the next SIGUSR2.
	IsOff bool `json:"off,omitempty"`
}

// Names at the top of the mount for users of the host.
const (
	// StatusFile is the file with the Status.
	StatusFile = "status"
	// ContainersDir has a directory for each container with the files as the container reads them.
	ContainersDir = "containers"
)

// Look probes the lxcfs on mountpoint, which must answer each access within the timeout.
func Look(ctx context.Context, mountpoint string, timeout time.Duration) (Result, error) {
	return new(Prober).Look(ctx, mountpoint, timeout)
}

// Prober probes again and again, and starts no child process while an earlier one hangs. The zero
// value is ready to use.
type Prober struct {
	mu     sync.Mutex
	reader sys.ChildReader
}

// Look is as the function Look.
func (p *Prober) Look(
	ctx context.Context, mountpoint string, timeout time.Duration,
) (Result, error) {
	r := Result{Mountpoint: mountpoint, State: NotMounted}
	table, err := mounts.OwnTable()
	if err != nil {
		return r, err
	}
	top := table.Top(mountpoint)
	switch {
	case top == nil:
		r.Reason = "nothing is mounted there"
		return r, nil
	case top.FSType != mounts.FSType:
		r.Reason = fmt.Sprintf("%s of type %s is mounted there", top.Source, top.FSType)
		return r, nil
	}
	r.Device = mounts.Device(top)
	r.ask(ctx, p, timeout)
	if r.Server != nil {
		r.PID = r.Server.PID
	} else if r.State != Dead {
		r.PID = lockHolder(mountpoint)
	}
	return r, nil
}

// UnmountDead unmounts every dead lxcfs on mountpoint, from all its mount points on the host, and
// returns what Look finds there then. Each probe takes at most timeout.
func UnmountDead(
	ctx context.Context, mountpoint string, timeout time.Duration, log *slog.Logger,
) (Result, error) {
	for {
		found, err := Look(ctx, mountpoint, timeout)
		if err != nil || found.State != Dead {
			return found, err
		}
		if err := mounts.UnmountHost(found.Device, sys.UnmountDetach); err != nil {
			return found, fmt.Errorf("unmount a dead lxcfs: %w", err)
		}
		log.Info("unmounted a dead lxcfs", "mountpoint", mountpoint)
	}
}

// DefaultRuntimeDir is the directory in which servers keep locks and state.
const DefaultRuntimeDir = "/run/lxcfs"

// RuntimeDir returns the directory in base for the server of mountpoint.
func RuntimeDir(base, mountpoint string) string {
	return filepath.Join(base, unit.UnitNamePathEscape(mountpoint))
}

// LockFile is the file in the runtime directory that a server locks and writes its pid to.
const LockFile = "lock"

// CallsSocket is the socket in the runtime directory to which runtimes send the descriptors of
// seccomp filters.
const CallsSocket = "seccomp.sock"

const maxNumber = 64

// readNumber returns the number in a file, or 0 if there is none.
func readNumber(file string) int64 {
	text, err := sys.ReadRegular(file, maxNumber)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// lockHolder returns the pid in the lock file of the mount point's server, or 0 if there is no such
// process.
func lockHolder(mountpoint string) int {
	pid := int(readNumber(filepath.Join(RuntimeDir(DefaultRuntimeDir, mountpoint), LockFile)))
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil || pid <= 0 {
		return 0
	}
	return pid
}

// servingFile is the file of the runtime directory with the time on CLOCK_MONOTONIC, in
// nanoseconds, at which a server began to serve.
const servingFile = "serving-since"

// RecordServing records in the runtime directory of a server that it serves from now on.
func RecordServing(runtimeDir string) error {
	now := strconv.AppendInt(nil, int64(sys.Monotonic()), 10)
	return sys.ReplaceFile(filepath.Join(runtimeDir, servingFile), now, nil)
}

// LastServing returns the time on CLOCK_MONOTONIC at which the last server of the mount point with
// the default runtime directory began to serve, or 0 if there was none since the machine booted.
func LastServing(mountpoint string) time.Duration {
	file := filepath.Join(RuntimeDir(DefaultRuntimeDir, mountpoint), servingFile)
	return time.Duration(readNumber(file))
}
