package lxcfs

import (
	"encoding/binary"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"palisade/internal/container"
)

// TestCountsRest has the containers of one principal counted without end: no two counts at once,
// and a pause after each.
func TestCountsRest(t *testing.T) {
	var p, other container.Principal
	const now = time.Hour
	if !mayCount(&p, now, countTime) {
		t.Fatal("the first count is refused")
	}
	if mayCount(&p, now+countTime, countTime) {
		t.Error("two counts at once")
	}
	if !mayCount(&other, now, countTime) {
		t.Error("the count of another principal is refused")
	}
	if !mayCount(&p, now+restAfterCount*countTime, countTime) {
		t.Error("no count after the pause")
	}
}

// TestRecordsAreFreed has all records used by containers that have ended: one is found without a
// look at all.
func TestRecordsAreFreed(t *testing.T) {
	f, _ := newMetered(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := openState(filepath.Join(t.TempDir(), "guests"), f.host, f.proc, log)
	if s.mem == nil {
		t.Fatal("no file was made")
	}
	for i := range maxGuests {
		if got := s.take(stateKey{PID: 1<<30 + i}); got != i {
			t.Fatalf("record %d, want %d", got, i)
		}
	}
	for i := range 3 {
		if got := s.take(stateKey{PID: 1 << 29, Start: time.Duration(i)}); got < 0 || got >= sweepStep {
			t.Errorf("record %d is taken, want one of those that were looked at", got)
		}
	}
	if got := len(s.free); got != sweepStep-3 {
		t.Errorf("%d records are free, want %d", got, sweepStep-3)
	}
	if got := binary.NativeEndian.Uint32(s.record(sweepStep)[recordUsedAt:]); got != 1 {
		t.Error("more records were looked at")
	}
}
