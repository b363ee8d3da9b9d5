package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"palisade/internal/inject/mounts"
	"palisade/internal/linux/sys"
)

// ask accesses the file system and sets r.State. A child process makes the first accesses, which
// the kernel does not cache. If the server ends at a later one, that access may wait for the next
// server.
func (r *Result) ask(ctx context.Context, p *Prober, timeout time.Duration) {
	err := p.read(ctx, r.Mountpoint, timeout)
	if err == nil {
		err = r.look(ctx, timeout)
	}
	switch {
	case err == nil:
		r.State = Healthy
	case errors.Is(err, syscall.ENOTCONN), errors.Is(err, syscall.ECONNABORTED):
		r.State, r.Reason = Dead, "its server is gone"
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		r.State, r.Reason = Wedged, "it does not answer in time"
	default:
		r.State, r.Reason = Wedged, fmt.Sprintf("read proc/uptime: %v", err)
	}
}

// read reads two files in a child process. It reads them in a private tree, since a container can
// block readers of a shared inode, for instance with a lease.
func (p *Prober) read(ctx context.Context, mountpoint string, timeout time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reader.MaxBytes, p.reader.Timeout = 4096, timeout
	in := func(tree string) error {
		dir := filepath.Join(mountpoint, tree)
		files := []string{filepath.Join(dir, StatusFile), filepath.Join(dir, "proc/uptime")}
		texts, err := p.reader.Read(ctx, files)
		if err != nil {
			return err
		}
		return texts[len(texts)-1].Err
	}
	err := in(mounts.ProbeTree)
	if mounts.NoPrivateTree(err) != nil {
		err = in(".")
	}
	return err
}

func (r *Result) look(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := sys.Within(ctx, func() (Result, error) {
		root, err := sys.OpenDir(r.Mountpoint)
		if err != nil {
			return Result{}, err
		}
		defer root.Close()
		tree, _, err := mounts.OpenTree(root, mounts.ProbeTree)
		if err != nil {
			return Result{}, err
		}
		defer tree.Close()
		// Not from root: a container can keep a directory locked that it can list.
		return Result{Files: ListFiles(tree), Server: readStatus(tree)}, nil
	}, nil)
	r.Files, r.Server = found.Files, found.Server
	return err
}

// readStatus returns the status of the server, or nil if it reports none.
func readStatus(root sys.File) *Status {
	text, err := root.ReadFileAt(StatusFile, nil)
	status := new(Status)
	if err != nil || json.Unmarshal(text, status) != nil {
		return nil
	}
	return status
}

// ListFiles returns the paths, relative to root, of what is mounted in containers: the files of
// proc, and the directories of CPUs and NUMA nodes.
func ListFiles(root sys.File) []string {
	var files []string
	for _, dir := range []string{"proc", "proc/pressure"} {
		files = append(files, RegularFiles(root, dir)...)
	}
	for _, name := range mounts.Dirs() {
		if dir, err := root.OpenDirBelow(name); err == nil {
			dir.Close()
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files
}

// RegularFiles returns the paths of the regular files in the directory dir below root. It uses the
// types in the directory entries: for the size of a file the server would have to render it.
func RegularFiles(root sys.File, dir string) (files []string) {
	d, err := root.OpenDirBelow(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	entries, _ := d.ReadDir()
	for _, e := range entries {
		if e.Type().IsRegular() {
			files = append(files, path.Join(dir, e.Name()))
		}
	}
	return files
}
