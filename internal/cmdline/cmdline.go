// Package cmdline is how all programs of commands are made, and how all end: mistakes in the command line have an exit code of their own,
// and what went wrong is one line on stderr.
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

// Unwrap returns what the mistake is.
func (e UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError of a text.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Report writes what went wrong as one line and returns the exit code for it.
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
