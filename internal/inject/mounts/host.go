package mounts

import (
	"errors"

	"palisade/internal/linux/sys"
)

// UnmountHost unmounts the lxcfs with the device from all its mount points in this mount namespace.
func UnmountHost(device sys.DeviceNumber, flags int) error {
	table, err := OwnTable()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range table.Lxcfs(device) {
		if err := sys.Unmount(m.Mountpoint, flags); err != nil && !sys.IsNotMounted(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
