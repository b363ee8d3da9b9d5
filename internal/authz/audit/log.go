package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"palisade/internal/cmdline"
)

// queued is how many records wait to be written at most. What comes beyond that is counted.
const queued = 4096

// batch is how many bytes of lines are written at once at most.
const batch = 64 << 10

// Log writes records.
type Log struct {
	sink    Sink
	log     *slog.Logger
	queue   chan Record
	reopen  chan chan error
	quit    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64

	lines    bytes.Buffer
	encoder  *json.Encoder
	reported uint64
	failing  time.Time
}

// New starts to write records to a sink. Mistakes in that are logged.
func New(sink Sink, log *slog.Logger) *Log {
	l := &Log{
		sink: sink, log: log, queue: make(chan Record, queued), reopen: make(chan chan error), quit: make(chan struct{}), done: make(chan struct{}),
	}
	l.encoder = json.NewEncoder(&l.lines)
	l.encoder.SetEscapeHTML(false)
	go l.write()
	return l
}

// Add has a record written. It never waits.
func (l *Log) Add(r Record) {
	select {
	case l.queue <- r.bounded():
	default:
		l.dropped.Add(1)
	}
}

// Dropped is how many records were not written.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// errStuck is the error of a sink that does not take what is written.
var errStuck = errors.New("the audit log takes nothing")

// Reopen has the sink open its file again, as after its rotation.
func (l *Log) Reopen(patience time.Duration) error {
	timeout := time.After(patience)
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
	case <-timeout:
		return errStuck
	}
	select {
	case err := <-answer:
		return err
	case <-timeout:
		return errStuck
	}
}

// Close writes what is queued, in the time that it is given, and closes the sink.
func (l *Log) Close(patience time.Duration) error {
	close(l.quit)
	select {
	case <-l.done:
		return l.sink.Close()
	case <-time.After(patience):
		return fmt.Errorf("%w: %d records are lost", errStuck, len(l.queue))
	}
}

// write is the goroutine that writes.
func (l *Log) write() {
	defer close(l.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case r := <-l.queue:
			l.flush(&r)
		case answer := <-l.reopen:
			answer <- l.sink.Reopen()
		case <-tick.C:
			l.reportDropped()
		case <-l.quit:
			l.flush(nil)
			l.reportDropped()
			return
		}
	}
}

// flush writes a record and those that wait behind it.
func (l *Log) flush(first *Record) {
	lines := 0
	encode := func(r *Record) {
		if err := l.encoder.Encode(r.line()); err == nil { // strings and numbers always can be
			lines++
		}
	}
	if first != nil {
		encode(first)
	}
	for more := true; more && l.lines.Len() < batch; {
		select {
		case r := <-l.queue:
			encode(&r)
		default:
			more = false
		}
	}
	if l.lines.Len() == 0 {
		return
	}
	// encoding/json does not escape C1 control characters and bidirectional marks.
	if err := l.sink.Write(cmdline.SafeJSON(l.lines.Bytes())); err != nil {
		l.dropped.Add(uint64(lines))
		if time.Since(l.failing) > time.Minute {
			l.failing = time.Now()
			l.log.Error("decisions are not audited", "err", err)
		}
	}
	l.lines.Reset()
	if first == nil && len(l.queue) > 0 {
		l.flush(nil)
	}
}

// reportDropped logs how many records were lost since it was last told.
func (l *Log) reportDropped() {
	if dropped := l.dropped.Load(); dropped > l.reported {
		l.log.Warn("decisions are missing in the audit", "count", dropped-l.reported, "since_start", dropped)
		l.reported = dropped
	}
}
