package shift

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/lockfile"
	"palisade/internal/sys"
)

// tree is a root file system that is open.
type tree struct {
	// path is its path without symbolic links.
	path string
	// root is its directory as the host sees it, view the same without what is mounted in the tree, where the kernel can do
	// that.
	root, view sys.File
	inode      sys.Inode
	mount      *mountinfo.Info
	// cloned tells that view is a mount of its own.
	cloned bool
	// hidden are the mount points in the tree, below its path, if it is not cloned.
	hidden map[string]bool
	fsType int64
	lock   *os.File
	*journal
}

// open opens a tree. What stands in the way of changes is not looked for yet.
func open(path string, stateDir string) (t *tree, err error) {
	root, err := sys.OpenDirNoFollow(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("%w (ROOT is to be a directory, not a symbolic link to one)", err)
	}
	if t, err = newTree(root, stateDir); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// newTree takes an open root directory over.
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
	if t.inode, err = t.root.Look(); err != nil {
		return err
	}
	if t.fsType, err = t.root.FSType(); err != nil {
		return err
	}
	t.journal, err = openJournal(t.root, &t.inode, t.fsType, stateDir)
	return err
}

func (t *tree) close() {
	t.view.Close()
	t.root.Close()
	if t.lock != nil {
		t.lock.Close()
	}
}

// lockTree keeps other processes from working on the tree. The lock is not on the tree itself, where a container could take
// it, too.
func (t *tree) lockTree(ctx context.Context, o *Options) (err error) {
	fs := t.inode.FileSystem
	name := fmt.Sprintf("%d-%d-%d.lock", fs.Major, fs.Minor, t.inode.Number)
	if t.lock, err = lockfile.Acquire(ctx, filepath.Join(o.LockDir, name), o.LockTimeout); err != nil {
		return fmt.Errorf("is another userns-shift at work? %w", err)
	}
	return t.identify(o.StateDir) // meanwhile it may have changed
}

// openView makes the view of the tree: a clone of its mount, in which nothing is mounted. Without it (before Linux 5.2), what
// is mounted in the tree is passed over, and not seen what is below.
func (t *tree) openView() error {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	id, err := t.root.MountID()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(table, func(m *mountinfo.Info) bool { return m.ID == id })
	if i < 0 {
		return errors.New("its mount is not in this process's mount namespace")
	}
	t.mount = table[i]
	view, err := t.root.CloneMount()
	switch {
	case err == nil:
		t.view, t.cloned = view, true
		t.journal.setView(view)
		if err := view.IsolateMount(); err != nil && !sys.IsUnsupported(err) {
			return err
		}
		return nil
	case !sys.IsUnsupported(err):
		return err
	}
	t.hidden = make(map[string]bool)
	for _, m := range table {
		if below, ok := strings.CutPrefix(m.Mountpoint, t.path+"/"); ok {
			t.hidden[below] = true
		}
	}
	t.view, err = t.root.OpenDirAt(".")
	return err
}

// walkTree visits all files but the root directory.
func (t *tree) walkTree(ctx context.Context, visitors []visitor) error {
	k := &walk{skip: t.hidden}
	if !t.cloned {
		var err error
		if k.mount, err = t.view.MountID(); err != nil {
			return err
		}
	}
	if err := k.run(ctx, t.view, visitors); err != nil {
		return err
	}
	return k.failures.err()
}

// keepsOrder tells whether a crash of the machine leaves the changes up to some time, not some later ones without earlier
// ones: where there is a journal of metadata, or nothing survives at all.
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
