package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"palisade/internal/cmdline"
)

// lineHandler writes messages for people: "lxcfs-toolkit: warning: MESSAGE (KEY VALUE, ...)".
type lineHandler struct {
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
}

// maxLine bounds a message: runtimes show the first 4 KiB of what a hook prints.
const maxLine = 1024

func newLineHandler(w io.Writer, level slog.Level) *lineHandler {
	return &lineHandler{w: w, level: level}
}

// Enabled tells whether a message of the level is written.
func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle writes a message.
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("lxcfs-toolkit: ")
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
		text = text[:maxLine] + "..."
	}
	_, err := fmt.Fprintln(h.w, text)
	return err
}

// WithAttrs adds attributes to all messages.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineHandler{h.w, h.level, append(append([]slog.Attr{}, h.attrs...), attrs...)}
}

// WithGroup is not used: names of groups are left out.
func (h *lineHandler) WithGroup(string) slog.Handler { return h }
