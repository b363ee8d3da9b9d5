// Package cmdline parses command lines and reports errors for all programs: one line on stderr, and
// an exit code of its own for mistakes in the command line.
package cmdline

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// Exit codes.
const (
	ExitFailure = 1
	ExitUsage   = 2
)

// UsageError is a mistake in the command line.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError with the formatted text.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Report writes err as one line to stderr and returns the exit code for it.
func Report(program string, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	if text := OneLine(err.Error()); text != "" {
		fmt.Fprintf(stderr, "%s: %s\n", program, text)
	}
	var code cli.ExitCoder
	var usage UsageError
	switch {
	case errors.As(err, &code):
		return code.ExitCode()
	case errors.As(err, &usage):
		return ExitUsage
	}
	return ExitFailure
}
