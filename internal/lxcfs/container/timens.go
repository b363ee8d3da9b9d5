package container

import (
	"strconv"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// BootOffset returns how far CLOCK_BOOTTIME of the thread tid is ahead of the daemon's: 0 in the
// same time namespace. init, which may be nil, is the thread's container. The thread must be
// waiting for a reply.
//
// The kernel shows the offsets of the time namespace of a thread's children only. If the thread is
// not in that itself, the container's init is asked, and if that is in a third one, the offset is
// unknown and 0.
func (f *Finder[S]) BootOffset(
	tid uint32, init *Container[S], s *Scratch,
) (time.Duration, error) {
	if tid == 0 || f.hostTimeNS == 0 {
		return 0, nil
	}
	ns, err := namespace(f.proc, tid, "time", s)
	if err != nil || ns == f.hostTimeNS {
		return 0, unlessGone(err)
	}
	ofChildren, err := namespace(f.proc, tid, "time_for_children", s)
	if err != nil {
		return 0, unlessGone(err)
	}
	if ofChildren == ns {
		return f.readBootOffset(f.proc, strconv.Itoa(int(tid))+"/timens_offsets", s)
	}
	if init == nil {
		return 0, nil
	}
	ofChildren, err = namespace(init.leader.dir, 0, "time_for_children", s)
	if err != nil || ofChildren != ns {
		return 0, unlessGone(err)
	}
	return f.readBootOffset(init.leader.dir, "timens_offsets", s)
}

func (f *Finder[S]) readBootOffset(dir sys.File, name string, s *Scratch) (time.Duration, error) {
	var err error
	if s.text, err = dir.ReadFileAt(name, s.text); err != nil {
		return 0, unlessGone(err)
	}
	offset, err := procfs.ParseBootOffset(s.text)
	return offset - f.hostBootOffset, err
}
