// Package probe looks whether an lxcfs is mounted and answers. Who waits for a file system that does not answer cannot
// always be killed: the looking is done by a process of its own, which is left behind if it hangs.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// Uptime is how long it has served, in seconds.
	Uptime float64 `json:"uptime_seconds"`
	// Containers is how many it knows: those that have read a file.
	Containers int `json:"containers"`
}

// StatusFile is the file with the Status.
const StatusFile = "status"

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
	r.ask(ctx, timeout)
	if r.Server != nil {
		r.PID = r.Server.PID
	} else if r.State != Dead {
		r.PID = lockHolder(mountpoint)
	}
	return r, nil
}

// ask has a child look.
func (r *Result) ask(ctx context.Context, timeout time.Duration) {
	answer, err := runChild(ctx, r.Mountpoint, timeout)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.State, r.Reason = Wedged, fmt.Sprintf("no answer within %v", timeout)
	case err != nil:
		r.State, r.Reason = Wedged, err.Error()
	case answer.Dead:
		r.State, r.Reason = Dead, "its server is gone"
	case answer.Error != "":
		r.State, r.Reason = Wedged, answer.Error
	default:
		r.State, r.Server, r.Files = Healthy, answer.Server, answer.Files
	}
}

// runChild starts this program anew to look at the mount, and reads its answer.
func runChild(ctx context.Context, mountpoint string, timeout time.Duration) (answer, error) {
	var a answer
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return a, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return a, err
	}
	defer r.Close()
	// Nothing of the caller's is left to the child but the pipe: a runtime waits for whoever holds its hook's output.
	child, err := os.StartProcess("/proc/self/exe", []string{"lxcfs-probe", childArgument, mountpoint},
		&os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{null, w, null}})
	w.Close()
	if err != nil {
		return a, err
	}
	deadline := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	defer context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) })()
	if err := r.SetReadDeadline(deadline); err != nil {
		return a, err
	}
	text, err := io.ReadAll(io.LimitReader(r, 1<<16))
	child.Kill()    // it has ended, or it hangs: then this may have no effect
	go child.Wait() // nobody waits for one that hangs
	if err != nil || len(text) == 0 {
		return a, errors.Join(err, ctx.Err(), emptyAnswer(text, err))
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("parse the answer: %w", err)
	}
	return a, nil
}

func emptyAnswer(text []byte, err error) error {
	if err == nil && len(text) == 0 {
		return errors.New("the process that was to look has ended without an answer")
	}
	return nil
}

// DefaultRuntimeDir is where servers keep locks and state.
const DefaultRuntimeDir = "/run/lxcfs"

// RuntimeDir is the folder in base in which the server of mountpoint keeps its own.
func RuntimeDir(base, mountpoint string) string {
	return filepath.Join(base, unit.UnitNamePathEscape(mountpoint))
}

// LockFile is the file of the runtime folder that a server locks and writes its pid to.
const LockFile = "lock"

// lockHolder is the pid that stands in the lock file of the mount point's server, if there is such a process.
func lockHolder(mountpoint string) int {
	text, err := os.ReadFile(filepath.Join(RuntimeDir(DefaultRuntimeDir, mountpoint), LockFile))
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
