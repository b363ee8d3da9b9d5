package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"palisade/internal/mounts"
	"palisade/internal/probe"
	"palisade/internal/sys"
)

// Containers that see the mount point, or a file of it by a bind mount of their configuration,
// share inodes. A lease on one would stall whoever opens the file next (fcntl(2), F_SETLEASE), for
// as long as /proc/sys/fs/lease-break-time. The kernel grants no write lease on a file that is open
// elsewhere, and no read lease on one that is open for writing, so all files stay open.
//
// No process has them in its table: they lie in the queue of a socket, as files that are passed and
// not received. fstat(2), poll(2) and, before Linux 5.16, close(2) of such a file wait for the
// server. systemd calls the first two for files that it keeps, and the process that restarts the
// server must not wait for it.

// heldName is what the service manager calls the two ends of that socket.
const heldName = "held"

// holdCheck is how often it is looked whether the mount is still there.
const holdCheck = time.Second

// holdFiles keeps the files of the shared tree open until the mount is taken away. earlier are the
// sockets of an earlier process.
func (c *config) holdFiles(spawner *sys.Spawner, earlier []sys.File) {
	mount, held, err := c.openShared(spawner)
	if err != nil {
		c.log.Warn("files that containers share are not protected from leases", "err", err)
	}
	if err := c.storeHeld(held); err != nil {
		c.log.Warn("the service manager does not hold files open", "err", err)
	}
	closeAll(earlier)
	for c.isMounted(mount) {
		time.Sleep(holdCheck)
	}
	// They would keep the connection alive that has no mount any more.
	closeAll(held)
	if err := c.storeHeld(nil); err != nil {
		c.log.Warn("the service manager holds files open", "err", err)
	}
}

// openShared opens the files of the shared tree, on a mount of their own where the kernel has such
// (Linux 5.2), so that the one on the mount point can be unmounted; mount is the ID of that. held
// are the ends of the socket with the files. A process of its own opens them: one that waits for
// the server cannot be killed, and the supervisor has to end before the next server starts.
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

// holderMark is in the environment of the process that opens files for the supervisor.
const holderMark = "PALISADE_HOLDER"

func isHolder() bool { return os.Getenv(holderMark) != "" }

// openForSupervisor is the work of that process. It keeps nothing open that others may wait for.
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
	for _, file := range sharedFiles(tree) {
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

// cpuFiles is the directory whose files most programs look for that count CPUs. What lies in
// directories below it is not held: those are thousands of files on a machine with many CPUs.
const cpuFiles = "sys/devices/system/cpu"

// sharedFiles returns the paths of the files that are to be held, as tree has them.
func sharedFiles(tree sys.File) []string {
	files := append(probe.ListFiles(tree), probe.StatusFile)
	dir, err := tree.OpenDirBelow(cpuFiles)
	if err != nil {
		return files
	}
	defer dir.Close()
	names, err := dir.List()
	if err != nil {
		return files
	}
	for _, name := range names {
		file := path.Join(cpuFiles, name)
		info, err := dir.StatAt(name)
		isReadable := err == nil && info.IsRegular() && info.Mode&0o444 != 0
		if isReadable && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}

// storeHeld gives the ends of the socket to the service manager, in the place of those that it has.
func (c *config) storeHeld(held []sys.File) error {
	if !c.keepMount {
		return nil
	}
	if err := sys.ForgetFile(heldName); err != nil {
		return err
	}
	if len(held) == 0 {
		return nil
	}
	return sys.StoreFiles(heldName, held...)
}

// isMounted reports whether the mount with the ID is still there. It asks the server nothing.
func (c *config) isMounted(mount int) bool {
	if top, err := sys.OpenPath(c.mountpoint); err == nil {
		defer top.Close()
		if id, err := top.MountID(); err == nil && id == mount {
			return true
		}
	}
	table, err := mounts.OwnTable() // something else may have been mounted on top
	return err == nil && table.HasLxcfs(mount)
}

// heldFiles returns those of the files that are ends of an earlier process's socket.
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
