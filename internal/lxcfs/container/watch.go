package container

import (
	"log/slog"
	"os"
	"time"

	"palisade/internal/linux/sys"
)

// sweepEvery is the interval between checks of the leaders without pidfds (before Linux 5.3).
const sweepEvery = 2 * time.Second

// watcher calls gone with the pid of each process that ends.
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
	// EventOnce: the pidfd stays readable, and a reader may hold it for a while.
	return w.poller.Add(p.pidfd, sys.EventIn|sys.EventOnce, int32(p.pid))
}

func (w *watcher) run(log *slog.Logger) {
	var events []sys.Event
	for {
		var err error
		if events, err = w.poller.Wait(events[:0]); err != nil {
			log.Error("cannot watch for the end of containers", "err", err)
			return
		}
		for _, ev := range events {
			w.gone(int(ev.Token))
		}
	}
}

// sweep does the work of watcher without pidfds.
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

// havePidfds reports whether the kernel supports pidfds.
func havePidfds() bool {
	fd, err := sys.OpenPidfd(os.Getpid())
	fd.Close()
	return err == nil
}
