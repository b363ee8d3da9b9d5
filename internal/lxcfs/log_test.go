package lxcfs

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestErrorsAreLoggedOnce provokes thousands of errors, as a container can.
func TestErrorsAreLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	l := newLimitedLog(slog.New(slog.NewTextHandler(&out, nil)))
	for range 1000 {
		l.Error("meminfo", "the host's meminfo is shown to a container", errors.New("one"))
		l.Error("stat", "the host's stat is shown to a container", errors.New("other"))
	}
	if lines := strings.Count(out.String(), "\n"); lines != 2 {
		t.Errorf("%d lines for two kinds of errors: %s", lines, &out)
	}
	stat := l.kinds["stat"]
	stat.last = stat.last.Add(-logInterval)
	l.kinds["stat"] = stat
	l.Error("stat", "the host's stat is shown to a container", errors.New("later"))
	if !strings.Contains(out.String(), "err=later more_since_last=999") {
		t.Errorf("after a minute: %s", &out)
	}
}
