package fusedev

import (
	"fmt"
	"strings"

	"palisade/internal/linux/sys"
)

const devicePath = "/dev/fuse"

// MountOptions are the options of Mount.
type MountOptions struct {
	// Source and Subtype appear in the mount table: the first column is Source, the type
	// fuse.Subtype.
	Source, Subtype string
	// Extra holds mount options such as "max_read=N" (Documentation/filesystems/fuse.rst).
	Extra []string
}

// Mount mounts a new connection on the directory dir: nosuid, nodev, and accessible to every user
// (allow_other). File modes are checked by the Handler: the kernel (default_permissions) would ask
// for attributes at each open(2) of a file whose size it must not cache. The connection lives as
// long as the returned device or a clone of it is open.
func Mount(dir string, opts MountOptions) (sys.File, error) {
	dev, err := sys.OpenReadWrite(devicePath)
	if err != nil {
		return sys.File{}, fmt.Errorf("%w (is the fuse module loaded?)", err)
	}
	data := append([]string{
		fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd()), "allow_other",
	}, opts.Extra...)
	err = sys.Mount(opts.Source, dir, "fuse."+opts.Subtype, sys.MountNoSuid|sys.MountNoDev,
		strings.Join(data, ","))
	if err != nil {
		dev.Close()
		return sys.File{}, err
	}
	return dev, nil
}
