package lxcfs

import (
	"log/slog"
	"sync"
	"time"
)

// logEvery is how often an error of one kind is logged at most: readers can provoke them at will.
const logEvery = time.Minute

// limitedLog logs errors of requests, each kind once in logEvery, with the number of those that were not logged.
type limitedLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*errorKind
}

type errorKind struct {
	last    time.Time
	skipped int
}

func newLimitedLog(log *slog.Logger) *limitedLog {
	return &limitedLog{log: log, kinds: make(map[string]*errorKind)}
}

// Error logs err under the message; kind, of which there must be few, tells errors apart.
func (l *limitedLog) Error(kind, message string, err error) {
	l.mu.Lock()
	k := l.kinds[kind]
	if k == nil {
		k = new(errorKind)
		l.kinds[kind] = k
	}
	if time.Since(k.last) < logEvery {
		k.skipped++
		l.mu.Unlock()
		return
	}
	skipped := k.skipped
	k.last, k.skipped = time.Now(), 0
	l.mu.Unlock()
	l.log.Error(message, "err", err, "more_since_last", skipped)
}
