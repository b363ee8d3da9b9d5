package shift

import (
	"cmp"
	"runtime"
	"time"

	"palisade/internal/userns/ranges"
)

// Policy selects the treatment of files or ids that cannot be changed without loss.
type Policy = string

const (
	// Fail changes nothing at all.
	Fail Policy = "fail"
	// Keep leaves unmapped ids unchanged.
	Keep Policy = "keep"
	// Squash replaces unmapped ids by one id. This cannot be undone.
	Squash Policy = "squash"
	// Skip leaves immutable and append-only files unchanged.
	Skip Policy = "skip"
	// Clear clears the flags immutable and append-only during the change.
	Clear Policy = "clear"
	// Ignore changes files although they have names outside the tree.
	Ignore Policy = "ignore"
)

// CapsPolicy selects the treatment of file capabilities.
type CapsPolicy = string

const (
	// CapsV3 makes them valid only in the container's user namespace. Unshift restores each byte.
	CapsV3 CapsPolicy = "v3"
	// CapsV2 makes them valid on the host, too.
	CapsV2 CapsPolicy = "v2"
	// CapsDrop removes them.
	CapsDrop CapsPolicy = "drop"
)

// Options control Shift, Unshift and Check. Zero values stand for defaults.
type Options struct {
	// Jobs is the number of workers, by default that of the processors, at most 8.
	Jobs int
	// DryRun stops before the first change.
	DryRun bool
	// Unmapped is Fail, Keep, or Squash to the container's id SquashTo.
	Unmapped Policy
	SquashTo uint32
	// Immutable is Fail, Skip or Clear, for files with the flags immutable or append-only.
	Immutable Policy
	// HardLinks is Fail or Ignore, for files with names outside the tree.
	HardLinks Policy
	Caps      CapsPolicy
	// DropSetID removes set-id bits and file capabilities, so that no program of the container
	// becomes a privileged program of the host. KeepSetID lets Unshift keep them even if other users
	// of the host can reach the tree.
	DropSetID, KeepSetID bool
	// AllowCopyUp allows changes of an overlay, which copy all files to its upper layer.
	AllowCopyUp bool
	// Force continues even if processes of other users are in the tree, or have it as their root.
	Force bool
	// Trust skips the scan if the trusted state says that the change is complete.
	Trust bool
	// LockTimeout limits the wait for another process that works on the tree.
	LockTimeout time.Duration
	// LockDir holds a lock file for each tree in use, StateDir the host's key and the records of
	// trees whose file system has no trusted.* attributes.
	LockDir, StateDir string
	// Range requests a range of the registry for a tree, instead of the maps.
	Range *ranges.Request
	// Progress is called every 200 ms and at the end of each pass.
	Progress func(Progress)
}

const (
	DefaultLockDir  = "/run/userns-shift"
	DefaultStateDir = "/var/lib/userns-shift"
)

func (o *Options) setDefaults() {
	if o.Jobs <= 0 {
		o.Jobs = min(runtime.NumCPU(), 8)
	}
	o.Unmapped, o.Immutable = cmp.Or(o.Unmapped, Fail), cmp.Or(o.Immutable, Fail)
	o.HardLinks, o.Caps = cmp.Or(o.HardLinks, Fail), cmp.Or(o.Caps, CapsV3)
	o.LockDir, o.StateDir = cmp.Or(o.LockDir, DefaultLockDir), cmp.Or(o.StateDir, DefaultStateDir)
}
