package shift

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/lockfile"
	"palisade/internal/linux/sys"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

type tree struct {
	// path is the path of the root directory without symbolic links.
	path string
	// root is the root directory as the host sees it. view is the same directory on a clone of its
	// mount without submounts, if the kernel can clone it.
	root, view sys.File
	inode      sys.Inode
	mount      *mountinfo.Info
	// skip holds the mount points in the tree, below its path; it is nil if the mount is cloned.
	skip   map[string]bool
	fsType int64
	lock   *os.File
	*journal.Journal
}

// open opens the tree at path without any checks, and sets the defaults of o.
func open(path string, o *Options) (t *tree, err error) {
	o.setDefaults()
	root, err := sys.OpenDirNoFollow(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("%w (want a directory, not a symbolic link to one)", err)
	}
	if t, err = newTree(root, o.StateDir); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// newTree takes ownership of an open root directory.
func newTree(root sys.File, stateDir string) (*tree, error) {
	t := &tree{root: root}
	if err := t.identify(stateDir); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tree) identify(stateDir string) (err error) {
	if t.path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", t.root.Fd())); err != nil {
		return err
	}
	if t.inode, err = t.root.Statx(); err != nil {
		return err
	}
	if t.fsType, err = t.root.FSType(); err != nil {
		return err
	}
	t.Journal, err = journal.Open(t.root, t.path, &t.inode, t.fsType, stateDir)
	return err
}

func (t *tree) close() {
	t.view.Close()
	t.root.Close()
	if t.lock != nil {
		t.lock.Close()
	}
}

// lockTree locks the tree against other userns-shift processes. The lock file is not in the tree,
// since a container could hold it there.
func (t *tree) lockTree(ctx context.Context, o *Options) (err error) {
	fs := t.inode.FileSystem
	name := fmt.Sprintf("%d-%d-%d.lock", fs.Major, fs.Minor, t.inode.Number)
	if t.lock, err = lockfile.Acquire(ctx, filepath.Join(o.LockDir, name), o.LockTimeout); err != nil {
		return fmt.Errorf("is another userns-shift at work? %w", err)
	}
	return t.identify(o.StateDir) // the process that held the lock may have changed it
}

// openView opens the view of the tree. Before Linux 5.2, no mount can be cloned: then mount points
// are skipped, and the files below them are not seen.
func (t *tree) openView() error {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	if t.mount, err = idmount.MountOf(t.root, table); err != nil {
		return err
	}
	view, err := t.root.CloneMount()
	switch {
	case err == nil:
		t.view = view
		t.SetView(view)
		if err := view.IsolateMount(); err != nil && !sys.IsUnsupported(err) {
			return err
		}
		return nil
	case !sys.IsUnsupported(err):
		return err
	}
	t.skip = make(map[string]bool)
	for _, m := range table {
		if below, ok := strings.CutPrefix(m.Mountpoint, t.path+"/"); ok {
			t.skip[below] = true
		}
	}
	t.view, err = t.root.OpenDirAt(".")
	return err
}

// walk visits all files except the root directory.
func (t *tree) walk(ctx context.Context, visitors []walk.Visitor) error {
	k := &walk.Walk{Skip: t.skip}
	if t.skip != nil {
		var err error
		if k.MountID, err = t.view.MountID(); err != nil {
			return err
		}
	}
	return k.Run(ctx, t.view, visitors)
}

// sync waits until all changes are on the disk, unless the file system keeps their order.
func (t *tree) sync() error {
	if t.keepsOrder() {
		return nil
	}
	list, err := t.view.ReopenDir()
	if err != nil {
		return err
	}
	defer list.Close()
	return list.SyncFS()
}

// keepsOrder reports whether no change survives a crash of the machine without all earlier ones, as
// with a journal of metadata, or if nothing survives.
func (t *tree) keepsOrder() bool {
	switch t.fsType {
	case sys.XFSMagic, sys.BtrfsMagic, sys.TmpfsMagic:
		return true
	}
	device, err := filepath.EvalSymlinks(t.mount.Source)
	if err != nil || t.mount.FSType != "ext4" && t.mount.FSType != "ext3" {
		return false
	}
	journals, err := filepath.Glob("/proc/fs/jbd2/" + filepath.Base(device) + "-*")
	return err == nil && len(journals) > 0
}
