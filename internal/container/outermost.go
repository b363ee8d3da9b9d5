package container

import (
	"errors"
	"strconv"
	"syscall"

	"palisade/internal/sys"
)

// Outermost is the inode number of the pid namespace in which the thread tid lives, or of those around it the one right below
// the daemon's, and the user who has made it: whoever is in a container can make others inside it, but none beside it, which
// users of the host can (CLONE_NEWUSER). It is 0 for a thread in the daemon's own. Before Linux 4.9, and for a thread that is
// not below the daemon, it is that of the thread itself, and root's.
func (f *Finder[S]) Outermost(tid uint32) (ns uint64, maker uint32, err error) {
	at, err := f.proc.OpenAt(strconv.Itoa(int(tid)) + "/ns/pid")
	if err != nil {
		return 0, 0, err
	}
	below := sys.File{}
	defer func() {
		at.Close()
		below.Close()
	}()
	for {
		inode, err := at.Inode()
		if err != nil {
			return 0, 0, err
		}
		if inode == f.hostPidNS {
			break
		}
		ns = inode
		parent, err := at.ParentNamespace()
		if isUnknown(err) {
			return ns, 0, nil
		} else if err != nil {
			return 0, 0, err
		}
		below.Close()
		below, at = at, parent
	}
	if ns == 0 {
		return 0, 0, nil
	}
	maker, err = makerOf(below)
	return ns, maker, err
}

// makerOf is the user who has made the user namespace to which a namespace belongs, or of those around that the one right below
// the daemon's; root for the daemon's own.
func makerOf(ns sys.File) (maker uint32, err error) {
	at, err := ns.UserNamespace()
	if isUnknown(err) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { at.Close() }()
	for {
		parent, err := at.ParentNamespace()
		if isUnknown(err) {
			return maker, nil
		} else if err != nil {
			return 0, err
		}
		maker, err = at.NamespaceOwner()
		at.Close()
		at = parent
		if err != nil {
			return 0, err
		}
	}
}

// isUnknown tells that a namespace is not to be seen from here, or that the kernel cannot be asked for it.
func isUnknown(err error) bool {
	return errors.Is(err, syscall.ENOTTY) || errors.Is(err, syscall.EPERM)
}
