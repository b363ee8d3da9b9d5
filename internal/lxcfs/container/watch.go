package container

import (
	"os"
	"time"

	"palisade/internal/linux/sys"
)

// sweepInterval is the interval of checks of the leaders before Linux 5.3, which has no pidfds.
const sweepInterval = 2 * time.Second

// watchLeaders starts to forget the containers whose leaders end.
func (f *Finder[S]) watchLeaders() {
	pidfd, err := sys.OpenPidfd(os.Getpid())
	pidfd.Close()
	if err == nil {
		go f.pollLeaders()
		return
	}
	go func() {
		for range time.Tick(sweepInterval) {
			f.forgetEnded(func(*Container[S]) bool { return true })
		}
	}()
}

// watch watches the process until its pidfd is closed.
func (f *Finder[S]) watch(p Process) error {
	if !p.pidfd.IsOpen() {
		return nil
	}
	// EventOnce: the pidfd stays readable, and a reader may hold it for a while.
	return f.poller.Add(p.pidfd, sys.EventIn|sys.EventOnce, int32(p.pid))
}

func (f *Finder[S]) pollLeaders() {
	err := f.poller.Run(func(ev sys.Event) {
		pid := int(ev.Token)
		f.forgetEnded(func(c *Container[S]) bool { return c.leader.pid == pid })
	})
	f.opts.Log.Error("cannot watch for the end of containers", "err", err)
}

// forgetEnded forgets the wanted containers whose leader has ended.
func (f *Finder[S]) forgetEnded(wanted func(*Container[S]) bool) {
	for _, c := range f.filter(wanted) {
		if !c.leader.IsAlive() {
			f.Forget(c)
		}
		c.Release()
	}
}
