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

	"palisade/internal/mounts"
	"palisade/internal/sys"
)

// ask asks the file system. The first questions, to which the kernel keeps no answer, are asked by a process of their own. The server
// may end at any later one, and leave its mount to the next: who asks then waits for that.
func (r *Result) ask(ctx context.Context) {
	err := r.read(ctx)
	if err == nil {
		err = r.look(ctx)
	}
	switch {
	case err == nil:
		r.State = Healthy
	case isDead(err):
		r.State, r.Reason = Dead, "its server is gone"
	case ctx.Err() != nil:
		r.State, r.Reason = Wedged, "it does not answer in time"
	default:
		r.State, r.Reason = Wedged, fmt.Sprintf("read proc/uptime: %v", err)
	}
}

// read reads two files in a child process. It reads them in a private tree, since a container can
// block readers of a shared inode, for instance with a lease.
func (r *Result) read(ctx context.Context) error {
	in := func(tree string) error {
		dir := filepath.Join(r.Mountpoint, tree)
		return sys.ReadApart(ctx, filepath.Join(dir, StatusFile), filepath.Join(dir, "proc/uptime"))
	}
	err := in(mounts.ProbeTree)
	if mounts.NoPrivateTree(err) != nil {
		err = in(".")
	}
	return err
}

// contents are what a file system serves, and what its server tells of itself.
type contents struct {
	files  []string
	server *Status
}

// look finds out what is served.
func (r *Result) look(ctx context.Context) error {
	found, err := sys.Within(ctx, func() (contents, error) {
		root, err := sys.OpenDir(r.Mountpoint)
		if err != nil {
			return contents{}, err
		}
		defer root.Close()
		tree, _, err := mounts.OpenTree(root, mounts.ProbeTree)
		if err != nil {
			return contents{}, err
		}
		defer tree.Close()
		// Not of root: a directory that containers can list can be kept locked by one of them.
		return contents{ListFiles(tree), readStatus(tree)}, nil
	}, func(contents) {})
	r.Files, r.Server = found.files, found.server
	return err
}

func isDead(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED)
}

// readStatus reads what the server tells of itself.
func readStatus(root sys.File) *Status {
	text, err := root.ReadFileAt(StatusFile, nil)
	status := new(Status)
	if err != nil || json.Unmarshal(text, status) != nil {
		return nil
	}
	return status
}

// ListFiles returns the files below root that can be mounted in containers: those of proc, and
// those of the CPU directory whose content is not the host's. In a private tree the server is asked
// for each name on the way, so a directory is opened once.
func ListFiles(root sys.File) []string {
	var files []string
	for _, dir := range []string{"proc", "proc/pressure"} {
		files = append(files, regularFiles(root, dir)...)
	}
	const cpus = "sys/devices/system/cpu"
	if dir, err := root.OpenDirBelow(cpus); err == nil {
		defer dir.Close()
		for _, name := range []string{"offline", "online"} {
			if isRegular(dir, name) {
				files = append(files, path.Join(cpus, name))
			}
		}
	}
	slices.Sort(files)
	return files
}

func isRegular(dir sys.File, name string) bool {
	info, err := dir.StatAt(name)
	return err == nil && info.IsRegular()
}

// regularFiles returns the regular files in a directory. It goes by what the directory says of
// them: to tell the attributes of a file, the server makes its content.
func regularFiles(root sys.File, dir string) (files []string) {
	d, err := root.OpenDirBelow(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	listing, err := d.OpenListing(sys.MakeName("."))
	if err != nil {
		return nil
	}
	defer listing.Close()
	for buf := make([]byte, 4096); ; {
		entries, err := listing.ReadEntries(buf)
		if len(entries) == 0 || err != nil {
			return files
		}
		for e, ok := entries.Next(); ok; e, ok = entries.Next() {
			if e.IsRegular || !e.IsDir && isRegular(d, e.Name.String()) {
				files = append(files, path.Join(dir, e.Name.String()))
			}
		}
	}
}
