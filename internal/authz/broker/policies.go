package broker

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/authz/policy"
	"palisade/internal/linux/sys"
)

// Policies are the policies of a file, which can be loaded again.
type Policies struct {
	file    string
	log     *slog.Logger
	current atomic.Pointer[policy.Set]
	// interval is pollInterval, except in tests.
	interval time.Duration

	mu     sync.Mutex // held while the file is loaded
	loaded version

	// loads and failures are also logged.
	loads, failures atomic.Uint64
}

// OpenPolicies loads a policy file.
func OpenPolicies(file string, log *slog.Logger) (*Policies, error) {
	p := &Policies{file: file, log: log, interval: pollInterval}
	if err := p.load(writeTime); err != nil {
		return nil, err
	}
	p.loads.Add(1)
	p.warnDefault()
	if writable, err := policy.IsWritableByOthers(file); err == nil && writable {
		log.Warn("others than the owner can write the policy file", "file", file)
	}
	return p, nil
}

func (p *Policies) warnDefault() {
	if p.Current().IsDefault() {
		p.log.Warn("the policy file is the unchanged default: only clients at Docker's unix socket "+
			"are allowed", "file", p.file)
	}
}

// Current returns the policies that were loaded last. A request must be decided by one Set.
func (p *Policies) Current() *policy.Set { return p.current.Load() }

// Loads returns how often the file was loaded, and how often that failed.
func (p *Policies) Loads() (loads, failures uint64) { return p.loads.Load(), p.failures.Load() }

// Reload loads the file again, and logs the result. After an error the policies stay as they are.
func (p *Policies) Reload() error {
	err := p.load(writeTime)
	p.report(err)
	return err
}

// report counts and logs the result of load.
func (p *Policies) report(err error) {
	if err != nil {
		p.failures.Add(1)
		p.log.Error("cannot load the policies, the previous ones stay in use", "err", err)
		return
	}
	p.loads.Add(1)
	p.log.Info("policies loaded", "file", p.file, "policies", len(p.Current().Policies))
	p.warnDefault()
}

const (
	// pollInterval is the interval of checks for changes. A check that finds none is one stat(2).
	pollInterval = 500 * time.Millisecond
	// retryInterval is the delay before a file that is missing or being written is read again.
	retryInterval = 50 * time.Millisecond
	// writeTime is the time a file may be missing or being written before that is an error.
	writeTime = time.Second
)

// load loads the file. It waits for a file that is missing or being written, up to the limit.
func (p *Policies) load(limit time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for deadline := time.Now().Add(limit); ; time.Sleep(retryInterval) {
		before := versionOf(p.file) // a change while the file is read gives it another version
		set, err := policy.Load(p.file)
		if err == nil {
			p.current.Store(set)
			p.loaded = before
			return nil
		}
		switch {
		case !isTransient(err):
			p.loaded = before
			return err
		case time.Now().After(deadline):
			p.loaded = version{} // the end of a write need not change the version
			return err
		}
	}
}

func isTransient(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, sys.ErrBeingWritten)
}

// version identifies the content of a file. The zero version is unknown.
type version struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

func versionOf(file string) version {
	info, err := os.Stat(file)
	if err != nil {
		return version{}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	// Two changes within a tick of the kernel's clock have the same time.
	if !ok || time.Since(info.ModTime()) < 50*time.Millisecond {
		return version{}
	}
	return version{stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
}

// Watch loads the file whenever it changes, until the context ends, and logs each error once. It
// polls the file, which also finds changes behind symbolic links, and in directories that are
// replaced or on a remote host. A file that is missing or being written is left to the next check
// until that lasts too long.
func (p *Policies) Watch(ctx context.Context) {
	var lastError string         // the error that was logged last
	var transientSince time.Time // when the file was first seen to be missing or being written
	check := func() {
		p.mu.Lock()
		loaded := p.loaded
		p.mu.Unlock()
		if now := versionOf(p.file); now == loaded && now != (version{}) {
			return
		}
		before := p.Current()
		err := p.load(0)
		if !isTransient(err) {
			transientSince = time.Time{}
		} else if transientSince.IsZero() {
			transientSince = time.Now()
		}
		switch {
		case err == nil:
			if lastError != "" || !p.Current().Equal(before) {
				p.report(nil)
			}
			lastError = ""
		case isTransient(err) && time.Since(transientSince) < writeTime:
		case err.Error() != lastError:
			p.report(err)
			lastError = err.Error()
		}
	}
	poll := time.NewTicker(p.interval)
	defer poll.Stop()
	for {
		check()
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
}
