package disk

import (
	"bytes"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/ktext"
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

	mu    sync.Mutex
	lines []mountLine
	size  int       // of the text
	next  time.Time // when the table may be read again
}

// mountLine is a line of a mount table. Other fields than these are parsed when they are needed: a
// host may have ten thousand mounts.
type mountLine struct {
	fs    sys.DeviceNumber
	point []byte
	text  []byte
}

// diskOf returns the disk of a file system with at most the given number of overlays below it.
func (h *hostMounts) diskOf(fs sys.DeviceNumber, layers int) (procfs.Device, bool) {
	if disk, ok := h.firstDisk(fs); ok {
		return disk, true
	}
	// A file system on several devices (btrfs), or on other file systems (overlay), has the number of
	// no block device.
	lines := h.table()
	i := slices.IndexFunc(lines, func(l mountLine) bool { return l.fs == fs })
	if i < 0 {
		return procfs.Device{}, false
	}
	switch m := lines[i].parse(); m.FSType {
	case "overlay":
		return h.diskBelowPath(layerOf(m), layers)
	case "btrfs", "bcachefs": // only the host's root can mount these, so the source is trusted
		return h.diskNamed(m.Source)
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
func (h *hostMounts) table() []mountLine {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := time.Now()
	if began.Before(h.next) {
		return h.lines
	}
	if text, err := h.proc.ReadFileAt("self/mountinfo", make([]byte, 0, h.size)); err == nil {
		h.lines, h.size = splitTable(text), cap(text)
	}
	h.next = began.Add(pause(time.Since(began)))
	return h.lines
}

// splitTable splits a mount table, and skips malformed lines. The result refers to text.
func splitTable(text []byte) []mountLine {
	lines := make([]mountLine, 0, bytes.Count(text, []byte{'\n'}))
	for line := range bytes.Lines(text) {
		_, rest := ktext.Field(line) // the mount's ID, its parent's, MAJOR:MINOR, root, mount point
		_, rest = ktext.Field(rest)
		device, rest := ktext.Field(rest)
		_, rest = ktext.Field(rest)
		point, _ := ktext.Field(rest)
		first, second, _ := bytes.Cut(device, []byte{':'})
		major, ok1 := ktext.Number32(first)
		minor, ok2 := ktext.Number32(second)
		if !ok1 || !ok2 || len(point) == 0 {
			continue
		}
		l := mountLine{sys.DeviceNumber{Major: major, Minor: minor}, point, line}
		if bytes.IndexByte(point, '\\') >= 0 { // escaped
			l.point = []byte(l.parse().Mountpoint)
		}
		lines = append(lines, l)
	}
	return lines
}

// parse returns all fields of the line, which are empty if it is malformed.
func (l *mountLine) parse() *mountinfo.Info {
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(l.text), nil)
	if err != nil || len(mounts) != 1 {
		return new(mountinfo.Info)
	}
	return mounts[0]
}

// diskBelowPath returns the disk of the file system that a path of the host is on. The path is
// compared as text with the mount points, and not resolved.
func (h *hostMounts) diskBelowPath(dir string, layers int) (procfs.Device, bool) {
	var closest *mountLine
	lines := h.table()
	for i := range lines {
		l := &lines[i]
		below := bytes.TrimSuffix(l.point, []byte{'/'})
		rest, ok := bytes.CutPrefix([]byte(dir), below)
		if !ok || len(rest) > 0 && rest[0] != '/' {
			continue
		}
		// Of several mounts on one mount point, the last is on top.
		if closest == nil || len(l.point) >= len(closest.point) {
			closest = l
		}
	}
	if closest == nil || layers == 0 || !path.IsAbs(dir) {
		return procfs.Device{}, false
	}
	return h.diskOf(closest.fs, layers-1)
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
