package supervise

import (
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
)

// upgrade starts a worker of the program on disk beside the current one, which leaves when the new
// one is ready.
func (s *Supervisor) upgrade() {
	if s.next != nil {
		s.Log.Warn("an upgrade is already in progress")
		return
	}
	image, err := sys.OpenPath(s.Program)
	if err == nil {
		s.next, err = s.start(image, s.exits)
	}
	if err != nil {
		image.Close()
		s.next = nil
		s.Log.Error("the upgrade is given up", "err", err)
	}
}

// promote makes the new worker the current one, or makes the current one leave first.
func (s *Supervisor) promote() {
	if s.current != nil {
		s.leave(s.current)
		return
	}
	s.current, s.next, s.restart = s.next, nil, nil
	s.image.Close()
	s.image = s.current.image
	s.letServe(s.current)
	s.Meter.Replaced(meter.Upgraded)
	if s.Upgraded != nil {
		s.Upgraded()
	}
}

func (s *Supervisor) abandonUpgrade(why string, args ...any) {
	s.Log.Error("the upgrade is given up: the new worker "+why,
		append([]any{"pid", s.next.Pid}, args...)...)
	s.next.image.Close()
	s.next = nil
}
