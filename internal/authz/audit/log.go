package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"palisade/internal/cli/cmdline"
)

// queueSize is the number of records that can wait to be written. Further ones are dropped.
const queueSize = 4096

// batchSize is the number of bytes from which on waiting records are left for the next write.
const batchSize = 64 << 10

// Log writes records to a sink in the background.
type Log struct {
	sink    Sink
	log     *slog.Logger
	queue   chan Record
	reopen  chan chan error
	quit    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64

	// Only the goroutine that writes uses these.
	lines    bytes.Buffer
	waiting  int // the number of records in lines
	encoder  *json.Encoder
	reported uint64    // the number of dropped records in the last report
	errorAt  time.Time // when a write error was last logged
}

// New returns a Log that writes to a sink, and logs its errors. The caller must close it.
func New(sink Sink, log *slog.Logger) *Log {
	l := &Log{
		sink: sink, log: log,
		queue: make(chan Record, queueSize), reopen: make(chan chan error),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	l.encoder = json.NewEncoder(&l.lines)
	l.encoder.SetEscapeHTML(false)
	go l.write()
	return l
}

// Add queues a record, or drops it if the queue is full. It never blocks.
func (l *Log) Add(r Record) {
	select {
	case l.queue <- r.truncated():
	default:
		l.dropped.Add(1)
	}
}

// Dropped returns the number of records that were not written.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

var errTimeout = errors.New("timed out waiting for the audit log")

// Reopen makes the sink open its file again, as is needed after its rotation.
func (l *Log) Reopen(limit time.Duration) error {
	timeout := time.After(limit)
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
	case <-timeout:
		return errTimeout
	}
	select {
	case err := <-answer:
		return err
	case <-timeout:
		return errTimeout
	}
}

// Close writes the queued records, and closes the sink. The error counts the records that were lost
// because that took too long.
func (l *Log) Close(limit time.Duration) error {
	close(l.quit)
	select {
	case <-l.done:
		return l.sink.Close()
	case <-time.After(limit):
		return fmt.Errorf("%w: %d records are lost", errTimeout, len(l.queue))
	}
}

func (l *Log) write() {
	defer close(l.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case r := <-l.queue:
			l.add(&r)
		case answer := <-l.reopen:
			answer <- l.sink.Reopen()
		case <-tick.C:
			l.reportDropped()
		case <-l.quit:
			for len(l.queue) > 0 {
				r := <-l.queue
				l.add(&r)
			}
			l.reportDropped()
			return
		}
	}
}

// add writes a record, together with others if further ones wait in the queue.
func (l *Log) add(r *Record) {
	if l.encoder.Encode(r.line()) == nil { // a line has only strings and numbers
		l.waiting++
	}
	if len(l.queue) > 0 && l.lines.Len() < batchSize {
		return
	}
	// encoding/json does not escape C1 control characters and bidirectional marks.
	if _, err := l.sink.Write(cmdline.SafeJSON(l.lines.Bytes())); err != nil {
		l.dropped.Add(uint64(l.waiting))
		if time.Since(l.errorAt) > time.Minute {
			l.errorAt = time.Now()
			l.log.Error("cannot write the audit log", "err", err)
		}
	}
	l.lines.Reset()
	l.waiting = 0
}

// reportDropped logs the number of records that were dropped since the last report.
func (l *Log) reportDropped() {
	if dropped := l.dropped.Load(); dropped > l.reported {
		l.log.Warn("decisions are missing in the audit log",
			"count", dropped-l.reported, "since_start", dropped)
		l.reported = dropped
	}
}
