package lxcfs

import "palisade/internal/lxcfs/meter"

// fileOf is what the meter knows a node by.
func (f *FS) fileOf(id uint64) meter.File {
	if n, ok := parseContainerNode(id); ok {
		id = n.file
	}
	if n := f.tree.node(id); n != nil {
		return n.file
	}
	p, err := f.cpuDir.path(id)
	if err != nil {
		return meter.NoFile
	}
	return cpuDirFile(p)
}

// cpuDirFile is what the meter knows a file by.
func cpuDirFile(p string) meter.File {
	switch p {
	case "online":
		return meter.CPUOnline
	case "offline":
		return meter.CPUOffline
	}
	return meter.CPUOther
}

// fallBack notes that a container is shown the host's file.
func (f *FS) fallBack(file meter.File, name string, kind meter.ErrorKind, err error) {
	f.log.Error(name, "the host's "+name+" is shown to a container", err)
	f.meter.Fallback(file)
	f.meter.Error(kind)
}
