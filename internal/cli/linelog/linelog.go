// Package linelog writes log messages for people, a line each.
package linelog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"palisade/internal/cli/cmdline"
)

// Handler writes messages for people: "PROGRAM: warning: MESSAGE (KEY: VALUE, ...)".
type Handler struct {
	program string
	w       io.Writer
	level   slog.Level
	attrs   []slog.Attr
}

// maxLine bounds a message: runtimes show the first 4 KiB of what a hook prints.
const maxLine = 1024

// New returns a handler that writes the messages of a program at level and above.
func New(program string, w io.Writer, level slog.Level) *Handler {
	return &Handler{program: program, w: w, level: level}
}

// Enabled reports whether messages of the level are written.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle writes a message.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(h.program + ": ")
	if r.Level != slog.LevelInfo {
		b.WriteString(strings.ToLower(r.Level.String()) + ": ")
	}
	b.WriteString(r.Message)
	separator := " ("
	write := func(a slog.Attr) bool {
		fmt.Fprintf(&b, "%s%s: %v", separator, a.Key, a.Value)
		separator = ", "
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	if separator == ", " {
		b.WriteString(")")
	}
	text := cmdline.OneLine(b.String())
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "..."
	}
	_, err := fmt.Fprintln(h.w, text)
	return err
}

// WithAttrs adds attributes to all messages.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.program, h.w, h.level, append(append([]slog.Attr{}, h.attrs...), attrs...)}
}

// WithGroup is not used: names of groups are left out.
func (h *Handler) WithGroup(string) slog.Handler { return h }
