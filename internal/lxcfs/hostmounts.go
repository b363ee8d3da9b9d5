package lxcfs

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/procfs"
	"palisade/internal/sys"
)

const (
	// hostMountsMaxAge is how long the host's mount table is good, restAfterTable for how many
	// times what it took to read it no other is read.
	hostMountsMaxAge = time.Second
	restAfterTable   = 100
	// maxLayers bounds the overlays that lie on each other.
	maxLayers = 4
)

// hostMounts finds out what the host's own file systems lie on. It knows a file system by its
// number alone, which the kernel gives: what the mount table of a container says, sources and
// options, is the container's to choose, and is never looked up on the host.
type hostMounts struct {
	proc sys.File
	// disks finds the disks that a block device lies on.
	disks func(major, minor uint32) []procfs.Device

	mu   sync.Mutex
	list []*mountinfo.Info
	next time.Time // when the table may be read again
}

// diskOf returns the disk that the file system with the number lies on.
func (h *hostMounts) diskOf(fs sys.DeviceNumber) (procfs.Device, bool) {
	if disks := h.disks(fs.Major, fs.Minor); len(disks) > 0 {
		return disks[0], true
	}
	// The number is of no block device where the file system lies on several, or on others: btrfs,
	// overlay.
	return h.below(h.table(), fs, maxLayers)
}

// table returns the host's mounts. A list that is returned does not change.
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

// below returns the disk below a file system that is in the table, and is no disk's itself.
func (h *hostMounts) below(
	table []*mountinfo.Info, fs sys.DeviceNumber, layers int,
) (procfs.Device, bool) {
	for _, m := range table {
		if m.Major != int(fs.Major) || m.Minor != int(fs.Minor) {
			continue
		}
		switch m.FSType {
		case "overlay":
			return h.disksBelowPath(table, layerOf(m), layers)
		case "btrfs", "bcachefs": // users cannot mount these: the source is what the host's root has named
			return h.diskNamed(m.Source)
		}
		return procfs.Device{}, false
	}
	return procfs.Device{}, false
}

// disksBelowPath returns the disk below the file system that is mounted closest above a path of the
// host. The path is not resolved.
func (h *hostMounts) disksBelowPath(
	table []*mountinfo.Info, dir string, layers int,
) (procfs.Device, bool) {
	var closest *mountinfo.Info
	for _, m := range table {
		below := strings.TrimSuffix(m.Mountpoint, "/")
		if rest, ok := strings.CutPrefix(dir, below); !ok || rest != "" && rest[0] != '/' {
			continue
		}
		if closest == nil || len(m.Mountpoint) >= len(closest.Mountpoint) { // the last one at a place is on top
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

// layerOf returns the directory on the host in which an overlay keeps what is written, or the
// lowest layer of one that is read-only.
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

// unescape undoes the kernel's way to write blanks and commas in a mount option: \040, as in a Go
// string.
func unescape(option string) string {
	if plain, err := strconv.Unquote(`"` + option + `"`); err == nil {
		return plain
	}
	return option
}
