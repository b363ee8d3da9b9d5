// Package probe looks whether an lxcfs is mounted and answers. Who waits for a file system that does not answer cannot
// always be killed: the first look is a process's of its own, which is left behind if it hangs.
package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"palisade/internal/mounts"
	"palisade/internal/sys"
)

// State is how an lxcfs does.
type State string

// States of an lxcfs.
const (
	// NotMounted: no lxcfs is mounted there, or something else lies on top.
	NotMounted State = "not mounted"
	// Dead: the server of the mount is gone; every access fails.
	Dead State = "dead"
	// Wedged: the server does not answer in time.
	Wedged State = "wedged"
	// Healthy: the server answers.
	Healthy State = "healthy"
)

// Result is what is found at a mount point.
type Result struct {
	Mountpoint string `json:"mountpoint"`
	State      State  `json:"state"`
	// Reason tells why it is not healthy.
	Reason string `json:"reason,omitempty"`
	// PID is the server's process, 0 if it is not known.
	PID int `json:"pid,omitempty"`
	// Server is what the server tells of itself, nil where it does not: lxcfs's C version.
	Server *Status `json:"server,omitempty"`
	// Files are the served files for containers, relative to the mount point: "proc/meminfo".
	Files []string `json:"files,omitempty"`
	// Device is the mounted file system's.
	Device sys.DeviceNumber `json:"-"`
}

// Status is what a server tells of itself, in the file status at the top of the mount.
type Status struct {
	PID int `json:"pid"`
	// Worker is the process that serves at the moment, if that is another one.
	Worker  int    `json:"worker,omitempty"`
	Version string `json:"version"`
	// Uptime is how long it has served, in seconds.
	Uptime float64 `json:"uptime_seconds"`
	// Containers is how many it knows: those that have read a file or been asked for.
	Containers int `json:"containers"`
	// IsOff reports that containers are shown the host's files, until the next SIGUSR2.
	IsOff bool `json:"off,omitempty"`
}

// What a server has at the top of the mount besides the files for containers, for those who look after the host: the file
// with the Status, and a folder with one for each container, in which its files are as it sees them.
const (
	StatusFile    = "status"
	ContainersDir = "containers"
)

// Look looks at the lxcfs on mountpoint. It takes at most timeout, give or take some milliseconds.
func Look(ctx context.Context, mountpoint string, timeout time.Duration) (Result, error) {
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
		r.Reason = fmt.Sprintf("%s of the type %s is mounted there", top.Source, top.FSType)
		return r, nil
	}
	r.Device = mounts.Device(top)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r.ask(ctx)
	if r.Server != nil {
		r.PID = r.Server.PID
	} else if r.State != Dead {
		r.PID = lockHolder(mountpoint)
	}
	return r, nil
}

// DefaultRuntimeDir is where servers keep locks and state.
const DefaultRuntimeDir = "/run/lxcfs"

// RuntimeDir is the folder in base in which the server of mountpoint keeps its own.
func RuntimeDir(base, mountpoint string) string {
	return filepath.Join(base, unit.UnitNamePathEscape(mountpoint))
}

// LockFile is the file of the runtime folder that a server locks and writes its pid to.
const LockFile = "lock"

// maxNumber bounds the size of the files with a number, in bytes.
const maxNumber = 64

// lockHolder is the pid that stands in the lock file of the mount point's server, if there is such a process.
func lockHolder(mountpoint string) int {
	file := filepath.Join(RuntimeDir(DefaultRuntimeDir, mountpoint), LockFile)
	text, err := sys.ReadRegular(file, maxNumber)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
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
	text, err := sys.ReadRegular(file, maxNumber)
	if err != nil {
		return 0
	}
	since, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(since)
}
