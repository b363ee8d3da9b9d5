package top

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"palisade/internal/cmdline"
	"palisade/internal/engine"
	"palisade/internal/probe"
	"palisade/internal/sys"
)

// Looker looks at the figures of containers again and again, by way of the lxcfs that is mounted on Mountpoint. It never touches
// that itself: processes of their own do, which are left behind when they get no answer.
type Looker struct {
	Mountpoint string

	reader sys.ChildReader
	last   map[lookKey]Look
}

// lookKey is what a container is from one look to the next.
type lookKey struct {
	id  string
	pid int
}

// A file may take fileTime, which is longer than lxcfs takes for one that it cannot read, and a look lookTime.
const (
	fileTime = 3 * time.Second
	lookTime = 20 * time.Second
)

// Seen is what a look has found.
type Seen struct {
	Rows []Row
	// Unknown is how many of them have no figures, though lxcfs answers.
	Unknown int
	// Err tells why no row has any, or some have not.
	Err error
	// Skipped are engines that were not asked for their containers.
	Skipped []engine.Skipped
}

// Note is one line about what is missing, "" if nothing is.
func (s *Seen) Note() string {
	switch {
	case s.Err != nil:
		return cmdline.OneLine(s.Err.Error())
	case s.Unknown > 0:
		return fmt.Sprintf("lxcfs has no figures of %d of %d containers", s.Unknown, len(s.Rows))
	case len(s.Skipped) > 0:
		return cmdline.OneLine(fmt.Sprintf("%s was not asked: %v", s.Skipped[0].Source, s.Skipped[0].Err))
	}
	return ""
}

// Look looks at containers. There is a row for each that has not ended meanwhile.
func (l *Looker) Look(ctx context.Context, containers []engine.Container) Seen {
	found, err := l.read(ctx, containers)
	seen := Seen{Rows: make([]Row, 0, len(containers)), Err: err}
	looks := make(map[lookKey]Look, len(containers))
	for i := range containers {
		c := &containers[i]
		var now Look
		if found != nil {
			now = parseLook(&found[i])
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
		looks[key] = now
		seen.Rows = append(seen.Rows, row)
	}
	l.last = looks
	return seen
}

func hasEnded(pid int) bool {
	_, err := sys.Stat("/proc/" + strconv.Itoa(pid))
	return errors.Is(err, syscall.ENOENT)
}

// read reads the files of containers. If there is an error some may have been read all the same.
func (l *Looker) read(ctx context.Context, containers []engine.Container) ([]texts, error) {
	l.reader.Timeout = fileTime
	limited, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	folder := filepath.Join(l.Mountpoint, probe.ContainersDir)
	paths := []string{folder}
	for _, c := range containers {
		for _, file := range files {
			paths = append(paths, filepath.Join(folder, strconv.Itoa(c.PID), file))
		}
	}
	read, err := l.reader.Read(limited, paths)
	if err == nil && !errors.Is(read[0].Err, syscall.EISDIR) { // that is what a folder says when it is read
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

func (l *Looker) late() error { return fmt.Errorf("lxcfs on %s does not answer in time", l.Mountpoint) }

// explain finds out why there is no folder with the containers.
func (l *Looker) explain(ctx context.Context, err error) error {
	found, lookErr := probe.Look(ctx, l.Mountpoint, fileTime)
	switch {
	case lookErr != nil:
		return errors.Join(err, lookErr)
	case found.State != probe.Healthy:
		return fmt.Errorf("lxcfs on %s is %s: %s", l.Mountpoint, found.State, found.Reason)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("lxcfs on %s shows no containers here: it is another version, or was started in other namespaces", l.Mountpoint)
	}
	return fmt.Errorf("read %s: %w", filepath.Join(l.Mountpoint, probe.ContainersDir), err)
}
