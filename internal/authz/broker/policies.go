package broker

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"palisade/internal/authz/policy"
	"palisade/internal/sys"
)

// Policies are those of a file, as it was when it was last whole and right.
type Policies struct {
	file    string
	log     *slog.Logger
	current atomic.Pointer[policy.Set]

	mu     sync.Mutex // one reload at a time
	loaded stamp

	// loads are those that were told in the log, failures too.
	loads, failures atomic.Uint64
}

// OpenPolicies loads a policy file.
func OpenPolicies(file string, log *slog.Logger) (*Policies, error) {
	p := &Policies{file: file, log: log}
	if err := p.reload(time.Second); err != nil {
		return nil, err
	}
	p.loads.Add(1)
	p.warnOfDefault()
	if isOpen, err := policy.IsWritableByOthers(file); err == nil && isOpen {
		log.Warn("others than its owner can write the policy file, and so decide", "file", file)
	}
	return p, nil
}

// warnOfDefault is for administrators who believe that they have written policies.
func (p *Policies) warnOfDefault() {
	if p.Current().IsDefault() {
		p.log.Warn("the policies are those of the package, unchanged: only clients at Docker's unix socket may do anything", "file", p.file)
	}
}

// Current are the policies that hold now. What a request gets it keeps to its end.
func (p *Policies) Current() *policy.Set { return p.current.Load() }

// Loads is how often policies were loaded, and how often a file could not be used.
func (p *Policies) Loads() (loads, failures uint64) { return p.loads.Load(), p.failures.Load() }

// Reload loads the file again. The policies stay as they are where it cannot be used; that is logged.
func (p *Policies) Reload() error {
	err := p.reload(time.Second)
	if err != nil {
		p.tellFailure(err)
	} else {
		p.tellLoad()
	}
	return err
}

func (p *Policies) tellLoad() {
	p.loads.Add(1)
	p.log.Info("policies are loaded", "file", p.file, "policies", len(p.Current().Policies))
	p.warnOfDefault()
}

func (p *Policies) tellFailure(err error) {
	p.failures.Add(1)
	p.log.Error("the policies stay as they are", "err", err)
}

// retry is how long a file is left alone that is absent or being written.
const retry = 50 * time.Millisecond

// reload waits, as long as it is given, for a file that somebody is about to write.
func (p *Policies) reload(patience time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for deadline := time.Now().Add(patience); ; time.Sleep(retry) {
		// What is written after this look has another stamp.
		looked := stampOf(p.file)
		set, err := policy.Load(p.file)
		if err == nil {
			p.current.Store(set)
			p.loaded = looked
			return nil
		}
		if !isPassing(err) || time.Now().After(deadline) {
			p.loaded = looked
			if isPassing(err) {
				p.loaded = stamp{} // its end may be seen by nothing else
			}
			return err
		}
	}
}

// isPassing tells whether the file may be there and whole in a moment.
func isPassing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, sys.ErrBeingWritten)
}

// stamp tells versions of a file apart.
type stamp struct {
	dev, ino   uint64
	size       int64
	mod, state syscall.Timespec
}

func stampOf(file string) (s stamp) {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	// A second change may follow on the heels of the first, in the same tick of the kernel's clock.
	if !ok || time.Since(info.ModTime()) < 50*time.Millisecond {
		return stamp{}
	}
	return stamp{stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
}

const (
	// settle is how long after an event the file is read: events come in bursts.
	settle = 20 * time.Millisecond
	// lookEvery is how often the file is looked at for changes of which no event tells: behind a link to another folder, or
	// in a folder that was made anew.
	lookEvery = 2 * time.Second
	// patience is how long a file may be absent or being written before that is logged.
	patience = time.Second
)

// follower loads the file again whenever it changes.
type follower struct {
	*Policies
	events  *fsnotify.Watcher
	failing string    // the mistake that was logged last
	since   time.Time // when the file began to be absent or written
}

// Watch loads the file again whenever it changes, until the context ends.
func (p *Policies) Watch(ctx context.Context) {
	events, err := fsnotify.NewWatcher()
	if err != nil { // there may be too many
		p.log.Warn("changes of the policy file are seen late", "within", lookEvery, "err", err)
		events = new(fsnotify.Watcher) // its channels are nil
	} else {
		defer events.Close()
	}
	f := follower{Policies: p, events: events}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	pending := time.NewTimer(settle) // what has changed since the start
	for {
		f.addFolder()
		select {
		case <-ctx.Done():
			return
		case event := <-events.Events:
			if filepath.Base(event.Name) == filepath.Base(p.file) && event.Op != fsnotify.Chmod {
				pending.Reset(settle)
			}
		case err := <-events.Errors: // an overflow
			p.log.Debug("changes of the policy file may be late", "err", err)
			pending.Reset(settle)
		case <-look.C:
			pending.Reset(0)
		case <-pending.C:
			if !f.follow() {
				pending.Reset(2 * retry)
			}
		}
	}
}

// addFolder watches the folder of the file, for the file may be replaced. A folder that was removed is not watched any more.
func (f *follower) addFolder() {
	if f.events.Events == nil || len(f.events.WatchList()) > 0 {
		return
	}
	if err := f.events.Add(filepath.Dir(f.file)); err != nil {
		f.log.Debug("the folder of the policy file is not watched", "err", err)
	}
}

func (p *Policies) hasChanged() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := stampOf(p.file)
	return now == stamp{} || now != p.loaded
}

// follow loads the file if it has changed. It returns false where it is to be called again soon. A mistake is logged once.
func (f *follower) follow() (settled bool) {
	if !f.hasChanged() {
		return true
	}
	before := f.Current()
	err := f.reload(0)
	if !isPassing(err) {
		f.since = time.Time{}
	} else if f.since.IsZero() {
		f.since = time.Now()
	}
	switch {
	case err == nil:
		if f.failing != "" || !f.Current().Equal(before) {
			f.tellLoad()
		}
		f.failing = ""
		return true
	case isPassing(err) && time.Since(f.since) < patience:
		return false
	case err.Error() != f.failing:
		f.tellFailure(err)
		f.failing = err.Error()
	}
	return true
}
