package toolkit

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// TestSearchEnds lets the search time out: it ends, and logs the number of namespaces that are
// left.
func TestSearchEnds(t *testing.T) {
	var log bytes.Buffer
	toolkit := Toolkit{Log: slog.New(slog.NewTextHandler(&log, nil))}
	spaces := map[uint64]*mountNamespace{1: {pids: []int{os.Getpid()}}, 2: {pids: []int{os.Getpid()}}}
	if targets := toolkit.findUnknown(t.Context(), spaces); len(targets) != 0 || log.Len() != 0 {
		t.Errorf("in the test's own namespace: %d, %s", len(targets), &log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	targets := toolkit.findUnknown(ctx, spaces)
	if len(targets) != 0 || !strings.Contains(log.String(), "left=2") {
		t.Errorf("without time: %d, %q", len(targets), &log)
	}
}
