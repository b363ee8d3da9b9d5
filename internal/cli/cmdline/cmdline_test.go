package cmdline_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
)

// TestReport checks the exit code and the single line for an error.
func TestReport(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("it broke"), 1, "program: it broke\n"},
		{errors.Join(errors.New("a"), errors.New("b")), 1, "program: a; b\n"},
		{cmdline.UsageError{Err: errors.New("what?")}, 2, "program: what?\n"},
		{fmt.Errorf("so: %w", cmdline.UsageError{Err: errors.New("what?")}), 2, "program: so: what?\n"},
		{cli.Exit("", 4), 4, ""},
	} {
		var text bytes.Buffer
		if code := cmdline.Report("program", tt.err, &text); code != tt.code || text.String() != tt.text {
			t.Errorf("%v: exit code %d and %q, want %d and %q", tt.err, code, &text, tt.code, tt.text)
		}
	}
}
