package doctor

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"slices"

	"github.com/moby/sys/mountinfo"
)

const (
	fuseDevice  = "/dev/fuse"
	fuseControl = "/sys/fs/fuse/connections"
)

func checkFuse(_ context.Context, w *World, r *Report) {
	text, err := w.read("/proc/filesystems", maxConfig)
	isFuse := func(line []byte) bool { return string(bytes.TrimSpace(line)) == "nodev\tfuse" }
	switch {
	case err != nil:
		r.error("fuse-missing", "/proc/filesystems", command("mount -t proc proc /proc"),
			"%v: file systems of the kernel are unknown", err)
	case !slices.ContainsFunc(bytes.Split(text, []byte("\n")), isFuse):
		load := "modprobe fuse"
		if w.exists(systemdDir) { // at boot too (modules-load.d(5))
			load += " && mkdir -p /etc/modules-load.d && echo fuse >/etc/modules-load.d/fuse.conf"
		}
		r.error("fuse-missing", "fuse", command("%s", load),
			"the kernel has no FUSE, or has not loaded it: lxcfs cannot start")
	}
	const makeDevice = "mknod -m 666 /dev/fuse c 10 229"
	if info, err := os.Stat(w.path(fuseDevice)); err != nil {
		r.error("fuse-device", fuseDevice, command(makeDevice), "%v: lxcfs cannot start", bare(err))
	} else if info.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice {
		r.error("fuse-device", fuseDevice, command("rm -r /dev/fuse && "+makeDevice),
			"not a device: lxcfs cannot start")
	}
	if w.lacksFuseControl() {
		r.info("fuse-control", fuseControl, command(mountFuseControl),
			"fusectl is not mounted: a server that hangs cannot be cut off")
	}
	if len(r.Findings) == 0 {
		r.fine("fuse-ok", fuseDevice, "FUSE is available")
	}
}

const mountFuseControl = "mount -t fusectl fusectl " + fuseControl

// lacksFuseControl reports whether fusectl, which can abort connections, is not mounted.
func (w *World) lacksFuseControl() bool {
	found, err := w.mounts("fusectl")
	return err == nil && len(found) == 0
}

// mounts returns the mounts of the host with one of the types.
func (w *World) mounts(types ...string) ([]*mountinfo.Info, error) {
	text, err := w.read("/proc/thread-self/mountinfo", maxProc)
	if err != nil {
		return nil, err
	}
	return mountinfo.GetMountsFromReader(bytes.NewReader(text), mountinfo.FSTypeFilter(types...))
}
