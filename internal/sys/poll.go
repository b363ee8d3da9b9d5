package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Events of a Poller and of FUSE_POLL: those of poll(2).
const (
	EventIn       = unix.EPOLLIN
	EventPri      = unix.EPOLLPRI
	EventErr      = unix.EPOLLERR
	EventOnce     = unix.EPOLLONESHOT
	EventReadable = unix.EPOLLIN | unix.EPOLLRDNORM | unix.EPOLLOUT | unix.EPOLLWRNORM
)

// Poller waits for events of many descriptors, by epoll(7).
type Poller struct{ ep File }

// NewPoller makes a Poller that watches nothing yet.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &Poller{File{fd + 1}}, nil
}

// Add watches f for the events; token comes back with them. Closing f, its last descriptor, ends the watch.
func (p *Poller) Add(f File, events uint32, token int32) error {
	ev := unix.EpollEvent{Events: events, Fd: token}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.ep.Fd(), unix.EPOLL_CTL_ADD, f.Fd(), &ev))
}

// Remove ends the watch of f.
func (p *Poller) Remove(f File) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.ep.Fd(), unix.EPOLL_CTL_DEL, f.Fd(), nil))
}

// Event is what Wait returns.
type Event struct {
	Events uint32
	Token  int32
}

// Wait waits for at least one event, appends what there is to dst and returns it.
func (p *Poller) Wait(dst []Event) ([]Event, error) {
	var evs [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.ep.Fd(), evs[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return dst, os.NewSyscallError("epoll_wait", err)
		}
		for _, ev := range evs[:n] {
			dst = append(dst, Event{ev.Events, ev.Fd})
		}
		return dst, nil
	}
}

// Ready tells whether f is readable now; a pidfd is once its process has ended.
func (f File) Ready() bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLIN != 0
}

// HasFailed tells whether f is in an error that stays, as /dev/fuse is once its connection has ended.
func (f File) HasFailed() bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&(unix.POLLERR|unix.POLLNVAL) != 0
}
