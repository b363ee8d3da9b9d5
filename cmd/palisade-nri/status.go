package main

import (
	"context"
	"errors"
	"os"
	"reflect"
	"time"

	"palisade/internal/cli/version"
	"palisade/internal/inject/agentstatus"
)

// statusInterval is the time between looks at the agent's state.
const statusInterval = time.Second

// writeStatus keeps the file with the agent's state up to date until ctx ends, and then removes it.
func (k *keeper) writeStatus(ctx context.Context) {
	defer os.Remove(agentstatus.Path)
	var written agentstatus.Status
	for tick := time.Tick(statusInterval); ; {
		s := k.agent.Status()
		s.PID, s.Version = os.Getpid(), version.String()
		if err := k.failure(); err != nil && !errors.Is(err, errPending) {
			s.Failure = err.Error()
		}
		if !reflect.DeepEqual(s, written) {
			if err := s.Write(agentstatus.Path); err != nil {
				k.Log.Warn("state is not written: palisade doctor does not know it", "err", err)
			}
			written = s
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}
