package shift

import (
	"runtime"
	"time"
)

// Policy tells what is done about something that stands in the way.
type Policy string

// What can be done.
const (
	// Fail finds it before anything is changed, and changes nothing.
	Fail Policy = "fail"
	// Keep leaves ids that are not mapped as they are.
	Keep Policy = "keep"
	// Squash makes one id of those that are not mapped. There is no way back.
	Squash Policy = "squash"
	// Skip leaves protected files as they are.
	Skip Policy = "skip"
	// Clear takes the protection away for as long as it takes.
	Clear Policy = "clear"
	// Ignore changes files although they have names outside of the tree.
	Ignore Policy = "ignore"
)

// Options say how a tree is changed.
type Options struct {
	// Jobs is how many files are worked on at once, by default as many as there are processors, but at most 8.
	Jobs int
	// DryRun stops before the first change.
	DryRun bool
	// Unmapped is Fail, Keep, or Squash to the container's id SquashTo.
	Unmapped Policy
	SquashTo uint32
	// Immutable is Fail, Skip or Clear: what is done about files with the flags immutable or append-only.
	Immutable Policy
	// HardLinks is Fail or Ignore: what is done about files that have other names outside of the tree.
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
	// Trust believes the recorded state: nothing is looked at where it says that all is done.
	Trust bool
	// LockTimeout is how long another process that works on the tree is waited for.
	LockTimeout time.Duration
	// LockDir holds a lock file for each tree in use, StateDir the host's key and the records of trees
	// whose file system has no trusted.* attributes.
	LockDir, StateDir string
	// Progress is called from time to time, and at the end of each pass.
	Progress func(Progress)
}

// Default folders.
const (
	DefaultLockDir  = "/run/userns-shift"
	DefaultStateDir = "/var/lib/userns-shift"
)

// Progress is how far a pass is.
type Progress struct {
	// Pass is "check" or "shift" or "unshift".
	Pass string `json:"pass"`
	// Done of Total files were visited; Total is 0 while it is not known.
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
}

func (o *Options) complete() {
	if o.Jobs <= 0 {
		o.Jobs = min(runtime.NumCPU(), 8)
	}
	for _, p := range []struct {
		policy *Policy
		value  Policy
	}{{&o.Unmapped, Fail}, {&o.Immutable, Fail}, {&o.HardLinks, Fail}} {
		if *p.policy == "" {
			*p.policy = p.value
		}
	}
	if o.Caps == "" {
		o.Caps = CapsV3
	}
	if o.LockDir == "" {
		o.LockDir = DefaultLockDir
	}
	if o.StateDir == "" {
		o.StateDir = DefaultStateDir
	}
}
