package fusedev

import (
	"fmt"
	"strings"

	"palisade/internal/linux/sys"
)

const devicePath = "/dev/fuse"

// Mount mounts a new connection on the directory dir: nosuid, nodev, and accessible to every user
// (allow_other). In the mount table its source is name, and its type fuse.name. options are more
// mount options, such as "max_read=N" (Documentation/filesystems/fuse.rst). File modes are checked
// by the Handler: the kernel (default_permissions) would ask for attributes at each open(2) of a
// file whose size it must not cache. The connection lives as long as the returned device or a clone
// of it is open.
func Mount(dir, name string, options ...string) (sys.File, error) {
	dev, err := sys.OpenReadWrite(devicePath)
	if err != nil {
		return sys.File{}, fmt.Errorf("%w (is the fuse module loaded?)", err)
	}
	data := append([]string{
		fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd()), "allow_other",
	}, options...)
	err = sys.Mount(name, dir, "fuse."+name, sys.MountNoSuid|sys.MountNoDev,
		strings.Join(data, ","))
	if err != nil {
		dev.Close()
		return sys.File{}, err
	}
	return dev, nil
}
