package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fusedev"
)

// startMinimal starts a process that serves dir by serveMinimal, until stop is called.
func startMinimal(dir string) (pid int, stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, nil, err
	}
	cmd := exec.Command("/proc/self/exe", "-serve-minimal", dir)
	cmd.Stderr = os.Stderr
	ready, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, nil, err
	}
	_, err = ready.Read(make([]byte, 1))
	stop = func() error {
		return errors.Join(sys.Unmount(dir, sys.UnmountDetach), cmd.Wait())
	}
	if err != nil {
		return 0, nil, errors.Join(err, stop())
	}
	return cmd.Process.Pid, stop, nil
}

// serveMinimal serves files with constant content on dir, with one goroutine and nothing else: the
// lower bound of the time of a read from a server written in Go.
func serveMinimal(dir string) error {
	dev, err := fusedev.Mount(dir, "minimal")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	in, out := make([]byte, 128<<10+4096), make([]byte, 4096)
	for {
		switch _, err := dev.Read(in); {
		case errors.Is(err, syscall.ENODEV):
			return nil
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EAGAIN):
			continue
		case err != nil:
			return err
		}
		if reply := answerMinimal(in, out); reply != nil {
			dev.Write(reply)
		}
	}
}

// answerMinimal returns the answer to a request (linux/fuse.h), or nil if it has none.
func answerMinimal(in, out []byte) []byte {
	order := binary.NativeEndian
	const header = 16
	node := order.Uint64(in[16:])
	body, errno := out[header:], syscall.Errno(0)
	clear(out[:256])
	n := 0
	attr := func(at int, id uint64) {
		mode := uint32(syscall.S_IFREG | 0o444)
		if id == 1 {
			mode = syscall.S_IFDIR | 0o755
		}
		order.PutUint64(body[at:], id)
		order.PutUint64(body[at+8:], 4096)
		order.PutUint32(body[at+60:], mode)
		order.PutUint32(body[at+64:], 1)
	}
	switch order.Uint32(in[4:]) {
	case 26: // INIT
		order.PutUint32(body, 7)
		order.PutUint32(body[4:], 31)
		order.PutUint32(body[20:], 4096) // max_write
		n = 64
	case 1: // LOOKUP
		i := slices.IndexFunc(files, func(name string) bool {
			return string(in[40:40+len(name)+1]) == name+"\x00"
		})
		if i < 0 {
			errno = syscall.ENOENT
			break
		}
		order.PutUint64(body, uint64(i+2))
		order.PutUint64(body[16:], 3600) // seconds that the entry and the attributes are valid
		order.PutUint64(body[24:], 3600)
		attr(40, uint64(i+2))
		n = 128
	case 3: // GETATTR
		order.PutUint64(body, 3600)
		attr(16, node)
		n = 104
	case 14: // OPEN
		order.PutUint32(body[8:], 1|32) // FOPEN_DIRECT_IO, FOPEN_NOFLUSH
		n = 16
	case 15: // READ
		if order.Uint64(in[48:]) == 0 {
			n = copy(body, "minimal\n")
		}
	case 18: // RELEASE
	case 2, 42: // FORGET, BATCH_FORGET
		return nil
	default:
		errno = syscall.ENOSYS
	}
	order.PutUint32(out, uint32(header+n))
	order.PutUint32(out[4:], uint32(-int32(errno)))
	copy(out[8:header], in[8:])
	return out[:header+n]
}
