package lxcfs

import (
	"log/slog"
	"sync"
	"time"
)

// logInterval is the minimum interval between log lines of one kind: readers can provoke any number
// of errors.
const logInterval = time.Minute

// limitedLog logs errors of requests, each kind at most once in logInterval, with the number of
// those that were not logged.
type limitedLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]errorKind
}

type errorKind struct {
	last    time.Time
	skipped int
}

func newLimitedLog(log *slog.Logger) *limitedLog {
	return &limitedLog{log: log, kinds: make(map[string]errorKind)}
}

// Error logs err with the message. There must be few kinds.
func (l *limitedLog) Error(kind, message string, err error) {
	l.mu.Lock()
	k := l.kinds[kind]
	isLogged := time.Since(k.last) >= logInterval
	if isLogged {
		l.kinds[kind] = errorKind{last: time.Now()}
	} else {
		l.kinds[kind] = errorKind{k.last, k.skipped + 1}
	}
	l.mu.Unlock()
	if isLogged { // without the lock: it may block
		l.log.Error(message, "err", err, "more_since_last", k.skipped)
	}
}
