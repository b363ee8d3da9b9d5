package sys

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// NewEventFile returns a file by which a process wakes another one (eventfd(2)): each Notify
// gives an Event of Poller.AddEvents.
func NewEventFile() (File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return File{}, os.NewSyscallError("eventfd", err)
	}
	return File{fd + 1}, nil
}

// Notify gives an Event of the event file f. It does not block.
func (f File) Notify() error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, err := f.Write(one[:])
	return err
}
