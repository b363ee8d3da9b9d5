package view_test

import (
	"testing"
	"time"

	"palisade/internal/lxcfs/view"
)

// TestMoved moves text of Linux 6.18, and text that cannot be parsed, which stays.
func TestMoved(t *testing.T) {
	const uptime, stat = "38106.79 30709.05\n", "cpu  1 2\nctxt 2\nbtime 1700000000\nprocesses 9\n"
	for _, tt := range []struct {
		move       func(dst, host []byte, offset time.Duration) []byte
		host, want string
		offset     time.Duration
	}{
		{view.MoveUptime, uptime, "106.79 30709.05\n", -38000 * time.Second},
		{view.MoveUptime, uptime, "38107.04 30709.05\n", time.Second / 4},
		{view.MoveUptime, uptime, "0.00 30709.05\n", -40000 * time.Second},
		{view.MoveUptime, "x 1\n", "x 1\n", time.Second},
		{view.MoveUptime, "", "", time.Second},
		{view.MoveStat, stat, "cpu  1 2\nctxt 2\nbtime 1700038000\nprocesses 9\n", -38000 * time.Second},
		{view.MoveStat, stat, "cpu  1 2\nctxt 2\nbtime 1700000001\nprocesses 9\n", -time.Second / 4},
		{view.MoveStat, stat, "cpu  1 2\nctxt 2\nbtime 1699999998\nprocesses 9\n", 2*time.Second + 1},
		{view.MoveStat, "cpu  1 2\nbtime x\n", "cpu  1 2\nbtime x\n", time.Second},
		{view.MoveStat, "cpu  1 2\n", "cpu  1 2\n", time.Second},
	} {
		if got := string(tt.move([]byte("a"), []byte(tt.host), tt.offset)); got != "a"+tt.want {
			t.Errorf("%q by %v: got %q, want %q", tt.host, tt.offset, got, "a"+tt.want)
		}
	}
}
