package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Events of a Poller and of FUSE_POLL, as of poll(2).
const (
	EventIn       = unix.EPOLLIN
	EventPri      = unix.EPOLLPRI
	EventErr      = unix.EPOLLERR
	EventReadable = unix.EPOLLIN | unix.EPOLLRDNORM | unix.EPOLLOUT | unix.EPOLLWRNORM
)

// Poller waits for events of many descriptors (epoll(7)).
type Poller struct{ ep File }

// NewPoller returns a Poller without descriptors.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &Poller{File{fd + 1}}, nil
}

// Add adds f to the Poller, until Remove or until the last descriptor of its open file is closed.
// Each Event of f has the token.
func (p *Poller) Add(f File, events uint32, token int32) error {
	ev := unix.EpollEvent{Events: events, Fd: token}
	err := unix.EpollCtl(p.ep.Fd(), unix.EPOLL_CTL_ADD, f.Fd(), &ev)
	return os.NewSyscallError("epoll_ctl", err)
}

// AddOnce is like Add, but after an Event f gives no other until Rearm: one thread at a time handles
// it. Without events it only reports errors and hang-ups.
func (p *Poller) AddOnce(f File, events uint32, token int32) error {
	return p.Add(f, events|unix.EPOLLONESHOT, token)
}

// AddEvents is like Add for an event file: each Notify gives an Event to one thread, which need not
// read the file.
func (p *Poller) AddEvents(f File, token int32) error {
	return p.Add(f, unix.EPOLLIN|unix.EPOLLET, token)
}

// Rearm makes f, which was added by AddOnce, give an Event again.
func (p *Poller) Rearm(f File, events uint32, token int32) error {
	ev := unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: token}
	err := unix.EpollCtl(p.ep.Fd(), unix.EPOLL_CTL_MOD, f.Fd(), &ev)
	return os.NewSyscallError("epoll_ctl", err)
}

// WaitOne waits for one event. Of several threads, the kernel wakes the one that came last.
func (p *Poller) WaitOne() (Event, error) {
	var ev [1]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.ep.Fd(), ev[:], -1)
		if n == 1 {
			return Event{ev[0].Events, ev[0].Fd}, nil
		}
		if err != unix.EINTR {
			return Event{}, os.NewSyscallError("epoll_wait", err)
		}
	}
}

// Remove removes f from the Poller.
func (p *Poller) Remove(f File) error {
	err := unix.EpollCtl(p.ep.Fd(), unix.EPOLL_CTL_DEL, f.Fd(), nil)
	return os.NewSyscallError("epoll_ctl", err)
}

// Event is an event of the file that was added with the token.
type Event struct {
	Events uint32
	Token  int32
}

// Wait waits for events, and returns them.
func (p *Poller) Wait() (events []Event, err error) {
	var evs [64]unix.EpollEvent
	n, err := unix.EpollWait(p.ep.Fd(), evs[:], -1)
	for err == unix.EINTR {
		n, err = unix.EpollWait(p.ep.Fd(), evs[:], -1)
	}
	for _, ev := range evs[:max(n, 0)] {
		events = append(events, Event{ev.Events, ev.Fd})
	}
	return events, os.NewSyscallError("epoll_wait", err)
}

// Ready reports whether f is readable. A pidfd is readable once its process has ended.
func (f File) Ready() bool { return f.poll(unix.POLLIN)&unix.POLLIN != 0 }

// ReadyFiles is Ready for many files, in one system call. A file that is not open is not ready.
func ReadyFiles(files []File) []bool {
	fds := make([]unix.PollFd, len(files))
	for i, f := range files {
		fds[i] = unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLIN}
	}
	ready := make([]bool, len(files))
	if _, err := unix.Poll(fds, 0); err != nil {
		return ready
	}
	for i := range fds {
		ready[i] = fds[i].Revents&unix.POLLIN != 0
	}
	return ready
}

// HasFailed reports whether f is in a permanent error state, as a descriptor of /dev/fuse is once
// its connection has ended.
func (f File) HasFailed() bool { return f.poll(0)&(unix.POLLERR|unix.POLLNVAL) != 0 }

// HasHungUp reports whether f has hung up (POLLHUP), as the descriptor of a seccomp filter does that
// has no more users.
func (f File) HasHungUp() bool { return f.poll(0)&unix.POLLHUP != 0 }

func (f File) poll(events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: events}}
	// ppoll(2), which all architectures have.
	if _, err := unix.Ppoll(fds, new(unix.Timespec), nil); err != nil {
		return 0
	}
	return fds[0].Revents
}

// fuseDevClone is FUSE_DEV_IOC_CLONE of linux/fuse.h, _IOR(229, 0, uint32_t) (Linux 4.2).
const fuseDevClone = 0x8004e500

// CloneFuse connects f, a fresh descriptor of /dev/fuse, to the FUSE connection of master.
func (f File) CloneFuse(master File) error {
	err := unix.IoctlSetPointerInt(f.Fd(), fuseDevClone, master.Fd())
	return os.NewSyscallError("ioctl FUSE_DEV_IOC_CLONE", err)
}

// ProbeFuseClone returns an error if device, which is /dev/fuse, cannot be opened, or its driver
// has no FUSE_DEV_IOC_CLONE. It tries to clone a descriptor without a connection: a driver that has
// the ioctl fails with another error.
func ProbeFuseClone(device string) error {
	f, err := OpenReadWrite(device)
	if err != nil {
		return err
	}
	defer f.Close()
	other, err := OpenReadWrite(device)
	if err != nil {
		return err
	}
	defer other.Close()
	if err = f.CloneFuse(other); errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOSYS) {
		return err
	}
	return nil
}
