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

// Sink is a destination of whole lines.
type Sink interface {
	io.WriteCloser
	// Reopen opens the destination again, if it is a file.
	Reopen() error
}

// Open opens the sink that the option --audit names: "stdout", "syslog", or a file.
func Open(name string, stdout io.Writer) (Sink, error) {
	switch name {
	case "stdout":
		return writerSink{stdout}, nil
	case "syslog":
		w, err := syslog.New(syslog.LOG_AUTHPRIV|syslog.LOG_INFO, "authz-broker")
		return syslogSink{w}, err
	}
	f := &fileSink{path: name}
	return f, f.Reopen()
}

type writerSink struct{ io.Writer }

func (writerSink) Reopen() error { return nil }
func (writerSink) Close() error  { return nil }

// fileSink is a file that another program may rotate.
type fileSink struct {
	*os.File
	path string
}

// Reopen keeps the open file if it cannot open a new one.
func (s *fileSink) Reopen() error {
	// With O_NONBLOCK a FIFO without a reader is an error.
	next, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	if s.File != nil {
		err = s.Close()
	}
	s.File = next
	return err
}

// syslogSink sends each line as a message. The writer reconnects if syslog was restarted.
type syslogSink struct{ *syslog.Writer }

func (s syslogSink) Write(lines []byte) (n int, err error) {
	for line := range bytes.Lines(lines) {
		err = errors.Join(err, s.Info(strings.TrimSuffix(string(line), "\n")))
	}
	return len(lines), err
}
func (syslogSink) Reopen() error { return nil }
