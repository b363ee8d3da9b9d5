package disk

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// maxLayers bounds the depth of stacked overlays.
const maxLayers = 4

// hostMounts finds the disks of the host's file systems. It identifies a file system only by its
// device number, which the kernel assigns. A container chooses the sources and options in its mount
// table, so these are never resolved on the host.
type hostMounts struct {
	proc sys.File
	// disks returns the disks of a block device.
	disks func(major, minor uint32) []procfs.Device

	mu   sync.Mutex
	list []*mountinfo.Info
	next time.Time // when the table may be read again
}

// diskOf returns the disk of a file system with at most the given number of overlays below it.
func (h *hostMounts) diskOf(fs sys.DeviceNumber, layers int) (procfs.Device, bool) {
	if disk, ok := h.firstDisk(fs); ok {
		return disk, true
	}
	// A file system on several devices (btrfs), or on other file systems (overlay), has the number of
	// no block device.
	for _, m := range h.table() {
		if deviceNumber(m) != fs {
			continue
		}
		switch m.FSType {
		case "overlay":
			return h.diskBelowPath(layerOf(m), layers)
		case "btrfs", "bcachefs": // only the host's root can mount these, so the source is trusted
			return h.diskNamed(m.Source)
		}
		break
	}
	return procfs.Device{}, false
}

func (h *hostMounts) firstDisk(dev sys.DeviceNumber) (procfs.Device, bool) {
	if disks := h.disks(dev.Major, dev.Minor); len(disks) > 0 {
		return disks[0], true
	}
	return procfs.Device{}, false
}

// table returns the host's mounts. The caller must not change the list.
func (h *hostMounts) table() []*mountinfo.Info {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := time.Now()
	if began.Before(h.next) {
		return h.list
	}
	text, err := h.proc.ReadFileAt("self/mountinfo", nil)
	if err == nil {
		var list []*mountinfo.Info
		if list, err = mountinfo.GetMountsFromReader(bytes.NewReader(text), nil); err == nil {
			h.list = list
		}
	}
	h.next = began.Add(pause(time.Since(began)))
	return h.list
}

// diskBelowPath returns the disk of the file system that a path of the host is on. The path is
// compared as text with the mount points, and not resolved.
func (h *hostMounts) diskBelowPath(dir string, layers int) (procfs.Device, bool) {
	var closest *mountinfo.Info
	for _, m := range h.table() {
		below := strings.TrimSuffix(m.Mountpoint, "/")
		if rest, ok := strings.CutPrefix(dir, below); !ok || rest != "" && rest[0] != '/' {
			continue
		}
		// Of several mounts on one mount point, the last is on top.
		if closest == nil || len(m.Mountpoint) >= len(closest.Mountpoint) {
			closest = m
		}
	}
	if closest == nil || layers == 0 || !path.IsAbs(dir) {
		return procfs.Device{}, false
	}
	return h.diskOf(deviceNumber(closest), layers-1)
}

// diskNamed returns the disk of a device node in the host's /dev.
func (h *hostMounts) diskNamed(node string) (procfs.Device, bool) {
	if !strings.HasPrefix(path.Clean(node), "/dev/") {
		return procfs.Device{}, false
	}
	info, err := sys.Stat(node)
	if err != nil || !info.IsBlockDevice() {
		return procfs.Device{}, false
	}
	return h.firstDisk(info.Device)
}

// layerOf returns the path of an overlay's upper layer, or of its lowest layer if it is read-only.
func layerOf(m *mountinfo.Info) string {
	var lower string
	for option := range strings.SplitSeq(m.VFSOptions, ",") {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			return path.Clean(unescape(dir))
		}
		if dirs, ok := strings.CutPrefix(option, "lowerdir="); ok {
			lower = dirs[strings.LastIndexByte(dirs, ':')+1:]
		}
	}
	return path.Clean(unescape(lower))
}

// unescape decodes the octal escapes in a mount option, such as \040, which Go strings have as
// well.
func unescape(option string) string {
	if plain, err := strconv.Unquote(`"` + option + `"`); err == nil {
		return plain
	}
	return option
}
