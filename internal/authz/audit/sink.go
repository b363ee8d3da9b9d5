package audit

import (
	"bytes"
	"errors"
	"io"
	"log/syslog"
	"os"
	"strings"
	"syscall"
)

// Sink takes lines.
type Sink interface {
	// Write writes whole lines.
	Write(lines []byte) error
	// Reopen opens what it writes to again.
	Reopen() error
	Close() error
}

// Open opens what the option --audit names: "stdout", "syslog", or a file.
func Open(name string, stdout io.Writer) (Sink, error) {
	switch name {
	case "stdout":
		return stream{stdout}, nil
	case "syslog":
		w, err := syslog.New(syslog.LOG_AUTHPRIV|syslog.LOG_INFO, "authz-broker")
		if err != nil {
			return nil, err
		}
		return &system{w}, nil
	}
	f := &file{path: name}
	return f, f.Reopen()
}

// stream is the standard output.
type stream struct{ w io.Writer }

func (s stream) Write(lines []byte) error {
	_, err := s.w.Write(lines)
	return err
}
func (stream) Reopen() error { return nil }
func (stream) Close() error  { return nil }

// file is a file that somebody else may rotate.
type file struct {
	path string
	f    *os.File
}

func (f *file) Write(lines []byte) error {
	_, err := f.f.Write(lines)
	return err
}

// Reopen keeps the old file where there can be no new one.
func (f *file) Reopen() error {
	// A FIFO that nobody reads is an error, not a wait.
	next, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	if f.f != nil {
		err = f.f.Close()
	}
	f.f = next
	return err
}

func (f *file) Close() error { return f.f.Close() }

// system is the system's log, which takes one line at a time. It connects anew where the log was restarted.
type system struct{ w *syslog.Writer }

func (s *system) Write(lines []byte) (err error) {
	for line := range bytes.Lines(lines) {
		err = errors.Join(err, s.w.Info(strings.TrimSuffix(string(line), "\n")))
	}
	return err
}
func (*system) Reopen() error  { return nil }
func (s *system) Close() error { return s.w.Close() }

var _, _, _ Sink = stream{}, (*file)(nil), (*system)(nil)
