package lxcfs

import (
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
	if !mayCount(&p, now+pauseFactor*countTime, countTime) {
		t.Error("no count after the pause")
	}
}
