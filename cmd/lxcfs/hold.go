package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
)

// Containers that have the mount point, or bind-mount a file of it by their configuration, share
// inodes. A lease on one blocks the next open of the file for /proc/sys/fs/lease-break-time
// (fcntl(2), F_SETLEASE). The kernel grants no write lease on a file that is open elsewhere, and no
// read lease on a file that is open for writing, so all files are kept open.
//
// No process has them in its descriptor table: they are in flight in the queue of a socket, sent
// and not received. fstat(2), poll(2) and, before Linux 5.16, close(2) of such a file wait for the
// server. systemd calls the first two for files that it stores, and the process that restarts the
// server must not wait for it.

// heldName is the name of the two ends of that socket in the service manager's descriptor store.
const heldName = "held"

// holdCheck is the interval at which holdFiles checks that the mount still exists.
const holdCheck = time.Second

// holdFiles keeps the files of the shared tree open until the mount is removed. It closes earlier,
// the sockets of an earlier process.
func (c *config) holdFiles(spawner *sys.Spawner, earlier []sys.File) {
	mount, held, err := c.openShared(spawner)
	if err != nil {
		c.log.Warn("shared files are not protected from leases", "err", err)
	}
	if err := c.storeHeld(held); err != nil {
		c.log.Warn("service manager does not store the shared files", "err", err)
	}
	closeAll(earlier)
	for c.isMounted(mount) {
		time.Sleep(holdCheck)
	}
	// Open files would keep the connection alive after the mount is gone.
	closeAll(held)
	if err := c.storeHeld(nil); err != nil {
		c.log.Warn("service manager still stores the shared files", "err", err)
	}
}

// openShared opens the files of the shared tree, and returns the ID of the mount on the mount point
// and the ends of the socket with the files. From Linux 5.2 on it opens them on a detached clone,
// so that the mount itself can be unmounted. A child process opens them: a process that waits for a
// FUSE reply cannot be killed, and the supervisor must end before the next server starts.
func (c *config) openShared(spawner *sys.Spawner) (mount int, held []sys.File, err error) {
	root, err := sys.OpenDir(c.mountpoint)
	if err != nil {
		return 0, nil, err
	}
	defer func() { root.Close() }()
	if mount, err = root.MountID(); err != nil {
		return 0, nil, err
	}
	if clone, err := root.CloneMount(); err == nil {
		root.Close()
		root = clone
	}
	queue, sender, err := sys.SocketPair()
	if err != nil {
		return mount, nil, err
	}
	held = []sys.File{queue, sender}
	holder, err := spawner.Start("/proc/self/exe", os.Args, append(os.Environ(), holderMark+"=1"),
		[]sys.NamedFile{{Name: "root", File: root}, {Name: "sender", File: sender}})
	if err != nil {
		closeAll(held)
		return mount, nil, err
	}
	state, err := holder.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("open shared files: %v", state)
	}
	return mount, held, err
}

// holderMark is an environment variable of the process that opens files for the supervisor.
const holderMark = "PALISADE_HOLDER"

func isHolder() bool { return os.Getenv(holderMark) != "" }

// openForSupervisor opens the shared files in the child process, and sends them to the supervisor.
// It closes the standard streams, since readers may wait for their end.
func openForSupervisor() error {
	if err := errors.Join(sys.NameProcess("lxcfs-holder"), sys.DropStandardStreams()); err != nil {
		return err
	}
	files, err := sys.PassedFiles(true)
	if err != nil {
		return err
	}
	if len(files) != 2 {
		return fmt.Errorf("%d files passed, want 2", len(files))
	}
	root, sender := files[0].File, files[1].File
	// The same names as in the shared tree, whose directories a container can keep locked.
	tree, _, err := mounts.OpenTree(root, mounts.ProbeTree)
	if err != nil {
		return err
	}
	var errs []error
	// Of the directories, hold the files directly in them: a machine with many CPUs has thousands in
	// the subdirectories.
	isDir := func(file string) bool { return slices.Contains(mounts.Dirs(), file) }
	shared := append(slices.DeleteFunc(probe.ListFiles(tree), isDir), probe.StatusFile)
	for _, dir := range mounts.Dirs() {
		shared = append(shared, probe.RegularFiles(tree, dir)...)
	}
	for _, file := range shared {
		open := root.OpenAt
		if strings.HasPrefix(file, "proc/pressure/") {
			open = root.OpenReadWriteAt
		}
		f, err := open(file)
		if err == nil {
			err = sys.SendFile(sender, f)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// storeHeld replaces the files that the service manager stores under heldName.
func (c *config) storeHeld(held []sys.File) error {
	if !c.keepMount {
		return nil
	}
	if err := sys.RemoveStoredFiles(heldName); err != nil {
		return err
	}
	if len(held) == 0 {
		return nil
	}
	return sys.StoreFiles(heldName, held...)
}

// isMounted reports whether the mount with the ID still exists. It sends no request to the server.
func (c *config) isMounted(mount int) bool {
	if top, err := sys.OpenPath(c.mountpoint); err == nil {
		defer top.Close()
		if id, err := top.MountID(); err == nil && id == mount {
			return true
		}
	}
	table, err := mounts.OwnTable() // another mount may cover it
	return err == nil && table.HasLxcfs(mount)
}

// heldFiles returns the stored files with the name heldName, the ends of an earlier socket.
func heldFiles(files []sys.NamedFile) (held []sys.File) {
	for _, f := range files {
		if f.Name == heldName {
			held = append(held, f.File)
		}
	}
	return held
}

func closeAll(files []sys.File) {
	for i := range files {
		files[i].Close()
	}
}
