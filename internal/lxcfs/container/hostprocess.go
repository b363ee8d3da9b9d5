package container

import (
	"errors"
	"strconv"
	"syscall"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// IsOwn reports whether the thread tid is in the daemon's user, pid and mount namespaces, and so in
// no container, regardless of its cgroup. The thread must be waiting for a reply.
func (f *Finder[S]) IsOwn(tid uint32, s *Scratch) bool {
	if !f.hasOwnIDs(tid, s) {
		return false
	}
	mountNS, err := namespace(f.proc, tid, "mnt", s)
	return err == nil && mountNS == f.hostMountNS
}

// IsHostProcess reports whether the thread tid is in the daemon's user and pid namespaces and has
// the daemon's root directory. It may have its own mount namespace, as services with systemd's
// PrivateTmp= and ProtectSystem= do. The thread must be waiting for a reply, so that its pid is not
// reused.
func (f *Finder[S]) IsHostProcess(tid uint32, s *Scratch) bool {
	if !f.hasOwnIDs(tid, s) {
		return false
	}
	root, err := f.proc.StatAt(strconv.Itoa(int(tid)) + "/root/.")
	return err == nil && f.IsHostRoot(root)
}

// Capabilities returns the effective capabilities of the thread tid, none if it is in another user
// namespace than the daemon. The thread must be waiting for a reply.
func (f *Finder[S]) Capabilities(tid uint32, s *Scratch) uint64 {
	if tid == 0 || !f.hasOwnUserNS(tid, s) {
		return 0
	}
	text, err := f.proc.ReadFileAt(strconv.Itoa(int(tid))+"/status", s.text)
	s.text = text
	if err != nil {
		return 0
	}
	status, err := procfs.ParseTaskStatus(text)
	if err != nil {
		return 0
	}
	return status.Capabilities
}

// IsHostRoot reports whether a directory is the daemon's root directory.
func (f *Finder[S]) IsHostRoot(dir sys.Inode) bool {
	return dir.Number == f.hostRoot.Number && dir.FileSystem == f.hostRoot.FileSystem
}

func (f *Finder[S]) hasOwnIDs(tid uint32, s *Scratch) bool {
	if tid == 0 {
		return false
	}
	pidNS, err := namespace(f.proc, tid, "pid", s)
	if err != nil || pidNS != f.hostPidNS {
		return false
	}
	return f.hasOwnUserNS(tid, s)
}

func (f *Finder[S]) hasOwnUserNS(tid uint32, s *Scratch) bool {
	userNS, err := namespace(f.proc, tid, "user", s)
	if errors.Is(err, syscall.ENOENT) {
		return f.hostUserNS == 0 // this kernel has none
	}
	return err == nil && userNS == f.hostUserNS
}
