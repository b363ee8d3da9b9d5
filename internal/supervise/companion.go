package supervise

import (
	"context"
	"log/slog"
	"time"

	"palisade/internal/sys"
)

// Companion is a program that is kept alive beside the worker, and no loss to it when it ends. It ends with this process.
type Companion struct {
	// Program is the path of the program on disk, Name what it is called.
	Program, Name string
	Spawner       *sys.Spawner
	// Files are passed to the program.
	Files []sys.NamedFile
	// Renewed tells that the program on disk is to take the place of the one that runs.
	Renewed <-chan struct{}
	Log     *slog.Logger

	image sys.File
}

const (
	// companionDelay is how long there is no program when it has ended, twice as long each time, up to companionMaxDelay. What
	// was before is forgotten of one that has lived longer than that.
	companionDelay    = 100 * time.Millisecond
	companionMaxDelay = time.Minute
)

// Run keeps the program alive until the context ends. An error is that there is no such program.
func (c *Companion) Run(ctx context.Context) (err error) {
	if c.image, err = sys.OpenPath(c.Program); err != nil {
		return err
	}
	defer func() { c.image.Close() }()
	delay := companionDelay
	for ctx.Err() == nil {
		began := time.Now()
		renewed := c.runOnce(ctx)
		if renewed || time.Since(began) > companionMaxDelay {
			delay = companionDelay
		}
		if renewed {
			continue
		}
		select {
		case <-ctx.Done():
		case <-c.Renewed:
			c.open()
		case <-time.After(delay):
		}
		delay = min(2*delay, companionMaxDelay)
	}
	return nil
}

// runOnce runs the program until it ends. It tells whether another is to take its place at once.
func (c *Companion) runOnce(ctx context.Context) (renewed bool) {
	p, err := c.Spawner.Start(c.image.Path(), []string{c.Name}, nil, c.Files)
	if err != nil {
		c.Log.Error(c.Name+" does not start", "err", err)
		return false
	}
	ended := make(chan string, 1)
	go func() {
		state, err := p.Wait()
		if err != nil {
			ended <- err.Error()
			return
		}
		ended <- state.String()
	}()
	for !renewed && ctx.Err() == nil {
		select {
		case state := <-ended:
			c.Log.Warn(c.Name+" ended", "pid", p.Pid, "state", state)
			return false
		case <-c.Renewed:
			renewed = c.open()
		case <-ctx.Done():
		}
	}
	p.Kill() // to no effect, if it has ended
	<-ended
	return renewed
}

// open opens the program on disk for the next start. Where there is none, the last one stays.
func (c *Companion) open() bool {
	image, err := sys.OpenPath(c.Program)
	if err != nil {
		c.Log.Error("the old "+c.Name+" stays", "err", err)
		return false
	}
	c.image.Close()
	c.image = image
	return true
}
