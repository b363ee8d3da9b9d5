package lxcfs

import (
	"encoding/binary"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"palisade/internal/lxcfs/container"
)

// TestCountsRest requests counts for one principal in a loop: no two may run at once, and a pause
// follows each.
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

// TestRecordsAreFreed fills all records with ended containers: a free one must be found without a
// check of all records.
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
