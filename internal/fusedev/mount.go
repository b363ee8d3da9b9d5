package fusedev

import (
	"fmt"
	"strings"

	"palisade/internal/sys"
)

const devicePath = "/dev/fuse"

// MountOptions say how a connection is mounted.
type MountOptions struct {
	// Source and Subtype are what the mount table shows: Source in its first column, fuse.Subtype as the type.
	Source, Subtype string
	// Extra are options of the kernel's FUSE (Documentation/filesystems/fuse.rst, "Mount options"), such as "max_read=N".
	Extra []string
}

// Mount opens /dev/fuse and mounts the new connection on the directory dir, without the help of fusermount: nosuid,
// nodev, with access for every user (allow_other). File modes are checked by the Handler: the
// kernel (default_permissions) would ask for attributes at each open(2) of a file whose size it
// must not cache. The device it returns is the connection's: the mount answers until its last
// descriptor and clone is closed.
func Mount(dir string, opts MountOptions) (sys.File, error) {
	dev, err := sys.OpenReadWrite(devicePath)
	if err != nil {
		return sys.File{}, fmt.Errorf("%w (is the fuse module loaded?)", err)
	}
	data := append([]string{
		fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd()), "allow_other",
	}, opts.Extra...)
	err = sys.Mount(opts.Source, dir, "fuse."+opts.Subtype, sys.MountNoSuid|sys.MountNoDev, strings.Join(data, ","))
	if err != nil {
		dev.Close()
		return sys.File{}, err
	}
	return dev, nil
}
