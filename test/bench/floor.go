package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fusedev"
)

// floor serves files with constant content: the lower bound of the time of a read through the same
// transport.
type floor struct{}

// floorTree looks up the files of floor.
type floorTree struct{ fuse.RawFileSystem }

// mountFloor serves a floor on dir until it is unmounted.
func mountFloor(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	dev, err := fusedev.Mount(dir, "floor")
	if err != nil {
		return err
	}
	session, err := fusedev.NewSession(dev, 4)
	if err != nil {
		return errors.Join(err, sys.Unmount(dir, sys.UnmountDetach))
	}
	names := floorTree{fuse.NewDefaultRawFileSystem()}
	conn, err := fusedev.NewConn(session, floor{}, names, new(atomic.Uint64))
	if err != nil {
		return errors.Join(err, sys.Unmount(dir, sys.UnmountDetach))
	}
	conn.Start()
	return nil
}

func (floor) Open(*fusedev.Request, uint32) (uint64, syscall.Errno) { return 1, 0 }

func (floor) Read(_ *fusedev.Request, _, offset uint64, _ int, dst []byte) ([]byte, syscall.Errno) {
	if offset > 0 {
		return dst, 0
	}
	return append(dst, "floor\n"...), 0
}

func (floor) Rescue(_ *fusedev.Request, _, _ uint64, _ int, dst []byte) ([]byte, syscall.Errno) {
	return dst, syscall.EIO
}

func (floor) RescueAttr(*fusedev.Request, *fuse.AttrOut) syscall.Errno { return syscall.EIO }

func (floor) Access(*fusedev.Request, uint32) syscall.Errno { return 0 }

func (floor) Release(*fusedev.Request, uint64) {}

func (floor) Poll(*fusedev.Request, uint64, uint64, bool) (uint32, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (floor) Class(*fusedev.Request, uint64) uint64 { return 0 }

func (floor) Panicked(value any) { fmt.Fprintln(os.Stderr, "bench: floor:", value) }

// cacheTimeout is longer than the benchmark.
const cacheTimeout = time.Hour

func setAttr(id uint64, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Size = id, syscall.S_IFREG|0o444, 1, 4096
	if id == 1 {
		out.Mode = syscall.S_IFDIR | 0o755
	}
}

func (floorTree) Lookup(
	_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut,
) fuse.Status {
	i := slices.Index(files, name)
	if i < 0 {
		return fuse.ENOENT
	}
	out.NodeId = uint64(i + 2)
	out.SetEntryTimeout(cacheTimeout)
	out.SetAttrTimeout(cacheTimeout)
	setAttr(out.NodeId, &out.Attr)
	return fuse.OK
}

func (floorTree) GetAttr(
	_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut,
) fuse.Status {
	out.SetTimeout(cacheTimeout)
	setAttr(in.NodeId, &out.Attr)
	return fuse.OK
}
