package sys

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Timer is a timer of the kernel (timerfd_create(2)). Unlike one of package time, it wakes the
// thread in Wait and no other.
type Timer struct{ File }

// NewTimer returns a Timer that does not run.
func NewTimer() (Timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		return Timer{}, os.NewSyscallError("timerfd_create", err)
	}
	return Timer{File{fd + 1}}, nil
}

// Start makes Wait return after d, which must be positive.
func (t Timer) Start(d time.Duration) error {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(t.Fd(), 0, &at, nil))
}

// Wait waits until the time of the last Start.
func (t Timer) Wait() error {
	var expirations [8]byte
	_, err := t.Read(expirations[:])
	return err
}
