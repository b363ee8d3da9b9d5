package container

import (
	"log/slog"
	"os"
	"time"

	"palisade/internal/sys"
)

// sweepEvery is how often the leaders are looked at where no pidfd tells of their end (before Linux 5.3).
const sweepEvery = 2 * time.Second

// watcher calls gone with the pid of each process that has ended, soon after its end.
type watcher struct {
	poller *sys.Poller
	gone   func(pid int)
}

func newWatcher(gone func(pid int), log *slog.Logger) (*watcher, error) {
	poller, err := sys.NewPoller()
	if err != nil {
		return nil, err
	}
	w := &watcher{poller, gone}
	go w.run(log)
	return w, nil
}

// add watches the process until its pidfd is closed.
func (w *watcher) add(p process) error {
	if !p.pidfd.IsOpen() {
		return nil
	}
	// Once is enough: the pidfd stays readable, and may be held by somebody's read for a while.
	return w.poller.Add(p.pidfd, sys.EventIn|sys.EventOnce, int32(p.pid))
}

func (w *watcher) run(log *slog.Logger) {
	var events []sys.Event
	for {
		var err error
		if events, err = w.poller.Wait(events[:0]); err != nil {
			log.Error("the ends of containers are not noticed any more", "err", err)
			return
		}
		for _, ev := range events {
			w.gone(int(ev.Token))
		}
	}
}

// sweep does the watcher's work where there are no pidfds.
func (f *Finder[S]) sweep() {
	for range time.Tick(sweepEvery) {
		for _, c := range f.filter(func(*Container[S]) bool { return true }) {
			if !c.leader.alive() {
				f.Forget(c)
			}
			c.Release()
		}
	}
}

// havePidfds tells whether the kernel has pidfds.
func havePidfds() bool {
	fd, err := sys.OpenPidfd(os.Getpid())
	fd.Close()
	return err == nil
}
