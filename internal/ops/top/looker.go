package top

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/engine"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
)

// Looker takes samples of containers from the lxcfs that is mounted on Mountpoint. Only child
// processes access the mount. They are left behind if they get no answer.
type Looker struct {
	Mountpoint string

	reader sys.ChildReader
	last   map[lookKey]Values
}

// lookKey identifies a container between two samples.
type lookKey struct {
	id  string
	pid int
}

const (
	// fileTime bounds the time for a file. It exceeds the time that lxcfs takes to give up reading
	// one.
	fileTime = 3 * time.Second
	// lookTime bounds the time for a sample.
	lookTime = 20 * time.Second
)

// Seen is the result of a sample.
type Seen struct {
	Rows []Row
	// Unknown is the number of rows without values although lxcfs answers.
	Unknown int
	// Err is the reason why all or some rows have no values.
	Err error
	// Skipped lists the engines whose containers are unknown.
	Skipped []engine.Skipped
}

// Note returns one line about missing values or engines, or "".
func (s *Seen) Note() string {
	switch {
	case s.Err != nil:
		return cmdline.OneLine(s.Err.Error())
	case s.Unknown > 0:
		return fmt.Sprintf("lxcfs has no values for %d of %d containers", s.Unknown, len(s.Rows))
	case len(s.Skipped) > 0:
		skipped := s.Skipped[0]
		text := fmt.Sprintf("containers of %s not listed: %v", skipped.Source, skipped.Error)
		return cmdline.OneLine(text)
	}
	return ""
}

// Look takes a sample of the containers. It returns a row for each that has not ended meanwhile.
func (l *Looker) Look(ctx context.Context, containers []engine.Container) Seen {
	found, err := l.read(ctx, containers)
	seen := Seen{Rows: make([]Row, 0, len(containers)), Err: err}
	samples := make(map[lookKey]Values, len(containers))
	for i := range containers {
		c := &containers[i]
		var now Values
		if found != nil {
			now = parse(&found[i])
		}
		key := lookKey{c.ID, c.PID}
		before := l.last[key]
		row := newRow(c, &before, &now)
		if !row.isKnown() && hasEnded(c.PID) {
			continue
		}
		if !row.isKnown() && err == nil {
			seen.Unknown++
		}
		samples[key] = now
		seen.Rows = append(seen.Rows, row)
	}
	l.last = samples
	return seen
}

// newRow returns the row of a container, given two samples. The first one may be empty.
func newRow(c *engine.Container, before, now *Values) Row {
	return Row{
		ID: c.ID, Names: append([]string{}, c.Names...), Engine: c.Engine, PID: c.PID,
		CPUPercent: cpuPercent(before, now), Values: *now,
	}
}

func hasEnded(pid int) bool {
	_, err := sys.Stat("/proc/" + strconv.Itoa(pid))
	return errors.Is(err, syscall.ENOENT)
}

// read reads the files of containers. It may return some of them together with an error.
func (l *Looker) read(ctx context.Context, containers []engine.Container) ([]texts, error) {
	l.reader.Timeout = fileTime
	limited, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	dir := filepath.Join(l.Mountpoint, probe.ContainersDir)
	paths := []string{dir}
	for _, c := range containers {
		for _, file := range files {
			paths = append(paths, filepath.Join(dir, strconv.Itoa(c.PID), file))
		}
	}
	read, err := l.reader.Read(limited, paths)
	if err == nil && !errors.Is(read[0].Err, syscall.EISDIR) { // expected for a directory
		err = read[0].Err
	}
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		return nil, l.late()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, l.explain(ctx, err)
	}
	found := make([]texts, len(containers))
	for i, text := range read[1:] {
		found[i/fileCount][i%fileCount] = text.Text
		if errors.Is(text.Err, context.DeadlineExceeded) {
			err = l.late()
		}
	}
	return found, err
}

func (l *Looker) late() error {
	return fmt.Errorf("lxcfs on %s does not answer in time", l.Mountpoint)
}

// explain returns the reason why the directory of containers cannot be read, given the error.
func (l *Looker) explain(ctx context.Context, err error) error {
	found, lookErr := probe.Look(ctx, l.Mountpoint, fileTime)
	switch {
	case lookErr != nil:
		return errors.Join(err, lookErr)
	case found.State != probe.Healthy:
		return fmt.Errorf("lxcfs on %s is %s: %s", l.Mountpoint, found.State, found.Reason)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("lxcfs on %s shows no containers: "+
			"it is another version, or was started in other namespaces", l.Mountpoint)
	}
	return fmt.Errorf("read %s: %w", filepath.Join(l.Mountpoint, probe.ContainersDir), err)
}
