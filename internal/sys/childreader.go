package sys

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ChildReader reads the texts of files in a process of its own, as ReadInChild does, again and again. Its zero value is ready.
type ChildReader struct {
	// MaxBytes is the length up to which a text is read, 64 KiB if it is 0. The kernel's texts are whole in one read.
	MaxBytes int
	// Timeout is how long a file may take, two seconds if it is 0.
	Timeout time.Duration

	buf []byte
	// left ends with the last process.
	left <-chan struct{}
}

// FileText is the text of a file, or why there is none: ENODATA if it is empty, context.DeadlineExceeded if there was no time
// left for it.
type FileText struct {
	Text []byte
	Err  error
}

// Read reads files, one after the other. When one takes too long, or ctx comes to its deadline, those before it are good all the
// same, and the process is left behind. There is never more than one of it: as long as that one is there the next Read waits, as
// for a file.
func (a *ChildReader) Read(ctx context.Context, paths []string) ([]FileText, error) {
	if a.buf == nil {
		a.MaxBytes, a.Timeout = cmp.Or(a.MaxBytes, 64<<10), cmp.Or(a.Timeout, 2*time.Second)
		a.buf = make([]byte, apartHeader+a.MaxBytes)
	}
	if a.left != nil {
		select {
		case <-a.left:
		case <-time.After(a.Timeout):
			return nil, context.DeadlineExceeded
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var ends [2]int // reading, writing
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	if err := unix.SetNonblock(ends[0], true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(ends[0]), unix.Close(ends[1]))
	}
	from := os.NewFile(uintptr(ends[0]), "texts")
	defer from.Close()
	process, err := startReader(paths, a.buf, ends[1])
	unix.Close(ends[1])
	if err != nil {
		return nil, err
	}
	a.left = process.ended
	texts, err := readTexts(&patientReader{from, ctx, a.Timeout}, len(paths), a.MaxBytes)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err != nil {
		cancel() // it is left behind
	}
	process.wait(ctx) // its error is that of a file
	for i := range texts {
		if texts[i].Text == nil && texts[i].Err == nil {
			texts[i].Err = err
		}
	}
	return texts, nil
}

// patientReader reads from a pipe: each time not longer than patience, nor than the context's deadline.
type patientReader struct {
	from     *os.File
	ctx      context.Context
	patience time.Duration
}

func (r *patientReader) Read(p []byte) (int, error) {
	deadline := time.Now().Add(r.patience)
	if end, ok := r.ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := r.from.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := r.from.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.DeadlineExceeded
	}
	return n, err
}

// readTexts reads what forkReader's process writes of n files. When it fails there are texts as far as they came.
func readTexts(from io.Reader, n, room int) ([]FileText, error) {
	texts := make([]FileText, n)
	in := bufio.NewReader(from)
	var header [apartHeader]byte
	for i := range texts {
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return texts, unexpected(err)
		}
		if errno := syscall.Errno(binary.NativeEndian.Uint32(header[:])); errno != 0 {
			texts[i].Err = errno
			continue
		}
		length := binary.NativeEndian.Uint32(header[4:])
		if int64(length) > int64(room) {
			return texts, errors.New("more was read of a file than there is room for")
		}
		text := make([]byte, length)
		if _, err := io.ReadFull(in, text); err != nil {
			return texts, unexpected(err)
		}
		texts[i].Text = text
	}
	return texts, nil
}

// unexpected is the error of a process that ended before its time.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errReaderKilled
	}
	return err
}
