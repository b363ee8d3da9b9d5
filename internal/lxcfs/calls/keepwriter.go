package calls

import (
	"time"

	"palisade/internal/linux/sys"
)

const (
	// A writer that lived for less than settled is started again after a pause.
	settled      = time.Second
	restartPause = 100 * time.Millisecond
)

// needWriter starts a writer unless one runs or there are no filters; r.mu is held.
func (r *Registry) needWriter() {
	if r.writer != nil || len(r.filters) == 0 {
		return
	}
	if err := r.startWriter(); err != nil {
		r.options.Log.Error("the calls of containers are not answered", "err", err)
		time.AfterFunc(settled, r.retryWriter)
	}
}

// startWriter starts a writer; r.mu is held.
func (r *Registry) startWriter() (err error) {
	feed, theirs, err := newFeed(r)
	if err != nil {
		return err
	}
	life, theirLife, err := sys.SocketPair()
	defer func() {
		theirs.Close()
		theirLife.Close()
		if err != nil {
			feed.Close(false)
			life.Close()
		}
	}()
	if err != nil {
		return err
	}
	listener, err := sys.ListenerFile(r.listener)
	if err != nil {
		return err
	}
	defer listener.Close()
	process, err := r.options.StartWriter(writerMark+"=1",
		append(r.shared.files(), sys.NamedFile{Name: feedName, File: theirs},
			sys.NamedFile{Name: lifeName, File: theirLife},
			sys.NamedFile{Name: listenerName, File: listener}))
	if err != nil {
		return err
	}
	r.writer = feed
	r.store(writerName, feed.socket)
	r.store(lifeName, life)
	feed.Start()
	go process.Wait() // watchWriter notices its end
	go r.watchWriter(feed, life, time.Now())
	return nil
}

func (r *Registry) retryWriter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.needWriter()
}

// watchWriter waits for the end of the writer, and starts another one.
func (r *Registry) watchWriter(feed *Feed, life sys.File, started time.Time) {
	// A writer sends nothing. It may be in an uninterruptible wait, with the feed open.
	sys.ReceiveNumbered(life)
	life.Close()
	feed.Close(false)
	if time.Since(started) < settled {
		time.Sleep(restartPause)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writer = nil
	if len(r.filters) > 0 {
		r.options.Log.Warn("the process that writes answers ended")
	}
	r.needWriter()
}
