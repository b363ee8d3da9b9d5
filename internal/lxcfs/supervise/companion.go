package supervise

import (
	"context"
	"log/slog"
	"time"

	"palisade/internal/linux/sys"
)

// Companion keeps a second program alive. The worker does not depend on it. It ends with this
// process.
type Companion struct {
	// Program is the path of the program, Name its argv[0].
	Program, Name string
	Spawner       *sys.Spawner
	// Files are passed to the program.
	Files []sys.NamedFile
	// Renewed receives a value to replace the running program by that on disk.
	Renewed <-chan struct{}
	Log     *slog.Logger

	image sys.File
}

const (
	// companionDelay is the pause before a program that ended is started again. The pause doubles
	// up to companionMaxDelay, and is reset after a program has run for longer than that.
	companionDelay    = 100 * time.Millisecond
	companionMaxDelay = time.Minute
)

// Run keeps the program alive until ctx ends. It fails if the program does not exist.
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

// runOnce runs the program until it ends, and reports whether it ended to be replaced.
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
	p.Kill() // has no effect if it has ended
	<-ended
	return renewed
}

// open opens the program on disk for the next start, and reports whether it exists. If not, the
// former one stays.
func (c *Companion) open() bool {
	image, err := sys.OpenPath(c.Program)
	if err != nil {
		c.Log.Error(c.Name+" not replaced", "err", err)
		return false
	}
	c.image.Close()
	c.image = image
	return true
}
