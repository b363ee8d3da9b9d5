package sys

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ChildReader reads files in a child process, as ReadInChild does, and returns their texts. The
// zero value is ready to use, by one goroutine at a time.
type ChildReader struct {
	// MaxBytes is the number of bytes read of each file, with one read(2); 64 KiB if 0.
	MaxBytes int
	// Timeout is the time limit of each file; two seconds if 0.
	Timeout time.Duration

	buf []byte
	// ended is closed when the last child has ended.
	ended <-chan struct{}
}

// FileText is the text of a file, or the error: ENODATA if the file is empty,
// context.DeadlineExceeded if it was not read in time.
type FileText struct {
	Text []byte
	Err  error
}

// Read reads the files one after the other. If one takes too long, or ctx's deadline passes, the
// child is abandoned, and this file and those after it have an error. While an abandoned child is
// alive, Read starts no other: it waits for up to Timeout, and fails with context.DeadlineExceeded.
func (r *ChildReader) Read(ctx context.Context, paths []string) ([]FileText, error) {
	if r.buf == nil {
		r.MaxBytes, r.Timeout = cmp.Or(r.MaxBytes, 64<<10), cmp.Or(r.Timeout, 2*time.Second)
		r.buf = make([]byte, headerSize+r.MaxBytes)
	}
	if r.ended != nil {
		select {
		case <-r.ended:
		case <-time.After(r.Timeout):
			return nil, context.DeadlineExceeded
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	from, to, err := Pipe()
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(from.Fd(), true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), from.Close(), to.Close())
	}
	pipe := os.NewFile(uintptr(from.Fd()), "pipe")
	defer pipe.Close()
	reader, err := startReader(paths, r.buf, to.Fd())
	to.Close()
	if err != nil {
		return nil, err
	}
	r.ended = reader.ended
	texts, err := readTexts(&timeoutReader{pipe, ctx, r.Timeout}, len(paths), r.MaxBytes)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err != nil {
		cancel() // wait abandons the child
	}
	reader.wait(ctx) // its error is the last file's
	for i := range texts {
		if texts[i].Text == nil && texts[i].Err == nil {
			texts[i].Err = err
		}
	}
	return texts, nil
}

// timeoutReader reads from a pipe. Each Read fails with context.DeadlineExceeded after the timeout,
// or at ctx's deadline.
type timeoutReader struct {
	pipe    *os.File
	ctx     context.Context
	timeout time.Duration
}

func (r *timeoutReader) Read(p []byte) (int, error) {
	deadline := time.Now().Add(r.timeout)
	if end, ok := r.ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := r.pipe.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := r.pipe.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.DeadlineExceeded
	}
	return n, err
}

// readTexts decodes the output of forkReader for n files. If it fails, it returns the texts before
// the failure as well.
func readTexts(from io.Reader, n, maxBytes int) ([]FileText, error) {
	texts := make([]FileText, n)
	in := bufio.NewReader(from)
	var header [headerSize]byte
	for i := range texts {
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return texts, killedIfEOF(err)
		}
		if errno := syscall.Errno(binary.NativeEndian.Uint32(header[:])); errno != 0 {
			texts[i].Err = errno
			continue
		}
		length := binary.NativeEndian.Uint32(header[4:])
		if int64(length) > int64(maxBytes) {
			return texts, fmt.Errorf("reader process sent %d bytes, want at most %d",
				length, maxBytes)
		}
		text := make([]byte, length)
		if _, err := io.ReadFull(in, text); err != nil {
			return texts, killedIfEOF(err)
		}
		texts[i].Text = text
	}
	return texts, nil
}

// killedIfEOF replaces an end of file by errReaderKilled.
func killedIfEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errReaderKilled
	}
	return err
}
