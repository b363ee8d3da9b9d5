package sys

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ReadInChild reads the beginning of each file in a child process, and returns the error of the
// last file, ENODATA if it is empty. If a file takes longer than limit, or ctx ends, it abandons the
// child: a process that waits for a file system that does not answer cannot always be killed. The
// error for a file that took too long is context.DeadlineExceeded.
func ReadInChild(ctx context.Context, limit time.Duration, paths ...string) error {
	r := ChildReader{MaxBytes: 4096, Timeout: limit}
	texts, err := r.Read(ctx, paths)
	if err != nil || len(texts) == 0 {
		return err
	}
	return texts[len(texts)-1].Err
}

// ChildReader reads files in a child process, as ReadInChild does, and returns their texts. The
// zero value is ready to use, by one goroutine at a time.
type ChildReader struct {
	// MaxBytes is the number of bytes read of each file, with one read(2); 64 KiB if 0.
	MaxBytes int
	// Timeout is the time limit of each file; two seconds if 0.
	Timeout time.Duration

	// ended is closed when the last child has ended.
	ended <-chan struct{}
}

// FileText is the text of a file, or the error: ENODATA if the file is empty,
// context.DeadlineExceeded if it was not read in time.
type FileText struct {
	Text []byte
	Err  error
}

type childText struct {
	Text  []byte
	Errno syscall.Errno
}

// Read reads the files one after the other. If one takes too long, or ctx ends, the child is
// abandoned, and this file and those after it have an error. While an abandoned child is alive,
// Read starts no other: it waits for up to Timeout, and fails with context.DeadlineExceeded.
func (r *ChildReader) Read(ctx context.Context, paths []string) ([]FileText, error) {
	timeout := cmp.Or(r.Timeout, 2*time.Second)
	if r.ended != nil {
		select {
		case <-r.ended:
		case <-time.After(timeout):
			return nil, context.DeadlineExceeded
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	child, pipe, err := startReader(cmp.Or(r.MaxBytes, 64<<10), paths)
	if err != nil {
		return nil, err
	}
	defer pipe.Close()
	ended := make(chan struct{})
	r.ended = ended
	go func() {
		child.Wait()
		close(ended)
	}()
	texts := make([]FileText, len(paths))
	in := json.NewDecoder(pipe)
	// The child says that it runs. On a busy machine that takes longer than some Timeouts.
	_, err = receiveText(ctx, in, startTime)
	for i := range texts {
		var got childText
		if err == nil {
			got, err = receiveText(ctx, in, timeout)
		}
		texts[i] = FileText{got.Text, err}
		if err == nil && got.Errno != 0 {
			texts[i].Err = got.Errno
		}
	}
	if err != nil {
		child.Kill()
	}
	return texts, nil
}

func receiveText(
	ctx context.Context, in *json.Decoder, timeout time.Duration,
) (childText, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := Within(ctx, func() (text childText, err error) {
		err = in.Decode(&text)
		return text, err
	}, nil)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("reader process killed")
	}
	return text, err
}

const readerName = "palisade-reader"

// startTime bounds the time that a reader process takes to start.
const startTime = 10 * time.Second

// startReader executes this program again as a reader process. It costs three milliseconds for each
// hook and list, most of them beside other work; a fork without an exec would be faster, but must
// not use the Go runtime.
func startReader(maxBytes int, paths []string) (*os.Process, *os.File, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	// A container runtime waits until all copies of the descriptors that its hook got are closed.
	inherited, _ := ListNumbers("/proc/self/fd")
	for _, fd := range inherited {
		if fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	args := append([]string{readerName, strconv.Itoa(maxBytes)}, paths...)
	child, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{Files: []*os.File{nil, in}})
	if err != nil {
		out.Close()
		return nil, nil, err
	}
	return child, out, nil
}

// init is the main function of a reader process.
func init() {
	if len(os.Args) < 2 || os.Args[0] != readerName {
		return
	}
	maxBytes, _ := strconv.Atoi(os.Args[1])
	out, buf := json.NewEncoder(os.Stdout), make([]byte, maxBytes)
	out.Encode(childText{})
	for _, path := range os.Args[2:] {
		n, err := readOnce(path, buf)
		text := childText{Text: buf[:n]}
		if err != nil {
			text.Errno = toErrno(err)
		}
		if out.Encode(text) != nil {
			break
		}
	}
	os.Exit(0)
}

// readOnce makes one read(2) of the file. It fails with ENODATA if the file is empty.
func readOnce(path string, buf []byte) (int, error) {
	f, err := Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.Read(buf)
	if n == 0 && err == nil {
		err = unix.ENODATA
	}
	return n, err
}
