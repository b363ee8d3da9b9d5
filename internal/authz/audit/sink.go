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

// Sink is a destination of lines.
type Sink interface {
	// Write writes whole lines.
	Write(lines []byte) error
	// Reopen opens the destination again, if it is a file.
	Reopen() error
	Close() error
}

// Open opens the sink that the option --audit names: "stdout", "syslog", or a file.
func Open(name string, stdout io.Writer) (Sink, error) {
	switch name {
	case "stdout":
		return writerSink{stdout}, nil
	case "syslog":
		w, err := syslog.New(syslog.LOG_AUTHPRIV|syslog.LOG_INFO, "authz-broker")
		if err != nil {
			return nil, err
		}
		return &syslogSink{w}, nil
	}
	f := &fileSink{path: name}
	return f, f.Reopen()
}

type writerSink struct{ w io.Writer }

func (s writerSink) Write(lines []byte) error {
	_, err := s.w.Write(lines)
	return err
}
func (writerSink) Reopen() error { return nil }
func (writerSink) Close() error  { return nil }

// fileSink is a file that another program may rotate.
type fileSink struct {
	path string
	f    *os.File
}

func (s *fileSink) Write(lines []byte) error {
	_, err := s.f.Write(lines)
	return err
}

// Reopen keeps the open file if it cannot open a new one.
func (s *fileSink) Reopen() error {
	// With O_NONBLOCK a FIFO without a reader is an error.
	next, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	if s.f != nil {
		err = s.f.Close()
	}
	s.f = next
	return err
}

func (s *fileSink) Close() error { return s.f.Close() }

// syslogSink sends each line as a message. The writer reconnects if syslog was restarted.
type syslogSink struct{ w *syslog.Writer }

func (s *syslogSink) Write(lines []byte) (err error) {
	for line := range bytes.Lines(lines) {
		err = errors.Join(err, s.w.Info(strings.TrimSuffix(string(line), "\n")))
	}
	return err
}
func (*syslogSink) Reopen() error  { return nil }
func (s *syslogSink) Close() error { return s.w.Close() }

var _, _, _ Sink = writerSink{}, (*fileSink)(nil), (*syslogSink)(nil)
