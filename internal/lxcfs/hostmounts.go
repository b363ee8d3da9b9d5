package lxcfs

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

const (
	// hostMountsMaxAge is the maximum age of the host's mount table, or restAfterTable times the time
	// that it took to read the table, if that is longer.
	hostMountsMaxAge = time.Second
	restAfterTable   = 100
	// maxLayers bounds the depth of stacked overlays.
	maxLayers = 4
)

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

// diskOf returns the disk of the file system with the device number.
func (h *hostMounts) diskOf(fs sys.DeviceNumber) (procfs.Device, bool) {
	if disks := h.disks(fs.Major, fs.Minor); len(disks) > 0 {
		return disks[0], true
	}
	// A file system on several devices (btrfs), or on other file systems (overlay), has the number of
	// no block device.
	return h.below(h.table(), fs, maxLayers)
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
	rest := min(restAfterTable*time.Since(began), maxRest)
	h.next = began.Add(max(hostMountsMaxAge, rest))
	return h.list
}

// below returns the disk below a file system in the table that has no device number of a disk.
func (h *hostMounts) below(
	table []*mountinfo.Info, fs sys.DeviceNumber, layers int,
) (procfs.Device, bool) {
	for _, m := range table {
		if m.Major != int(fs.Major) || m.Minor != int(fs.Minor) {
			continue
		}
		switch m.FSType {
		case "overlay":
			return h.diskBelowPath(table, layerOf(m), layers)
		case "btrfs", "bcachefs": // only the host's root can mount these, so the source is trusted
			return h.diskNamed(m.Source)
		}
		return procfs.Device{}, false
	}
	return procfs.Device{}, false
}

// diskBelowPath returns the disk of the file system that a path of the host is on. The path is
// compared as text with the mount points, and not resolved.
func (h *hostMounts) diskBelowPath(
	table []*mountinfo.Info, dir string, layers int,
) (procfs.Device, bool) {
	var closest *mountinfo.Info
	for _, m := range table {
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
	fs := sys.DeviceNumber{Major: uint32(closest.Major), Minor: uint32(closest.Minor)}
	if disks := h.disks(fs.Major, fs.Minor); len(disks) > 0 {
		return disks[0], true
	}
	return h.below(table, fs, layers-1)
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
	disks := h.disks(info.Device.Major, info.Device.Minor)
	if len(disks) == 0 {
		return procfs.Device{}, false
	}
	return disks[0], true
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
