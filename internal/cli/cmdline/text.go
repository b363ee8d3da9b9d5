package cmdline

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// OneLine returns untrusted text as part of a line on a terminal: newlines, which errors.Join
// writes, become "; ", and unprintable characters (escape sequences, bidirectional controls) are
// escaped as in a Go string.
func OneLine(text string) string {
	text = strings.NewReplacer("\n", "; ", "\t", " ").Replace(strings.TrimSpace(text))
	quoted := strconv.Quote(text)
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(quoted[1 : len(quoted)-1])
}

// Word returns an untrusted name as one word of a table: unchanged if it has only graphic ASCII
// characters, else quoted and escaped as in Go, without spaces.
func Word(name string) string {
	isOdd := func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }
	if strings.ContainsFunc(name, isOdd) {
		return strings.ReplaceAll(strconv.QuoteToASCII(name), " ", `\x20`)
	}
	return name
}

// SafeJSON returns a JSON text with its unprintable characters, which only strings can have, as
// escapes. Parsers read the same value.
func SafeJSON(text []byte) []byte {
	safe := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			safe = utf8.AppendRune(safe, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	return safe
}

// SafeJSONWriter returns a writer that passes each JSON text through SafeJSON to w. A text must be
// written in one call, as json.Encoder and slog.JSONHandler do.
func SafeJSONWriter(w io.Writer) io.Writer { return safeJSONWriter{w} }

type safeJSONWriter struct{ w io.Writer }

func (s safeJSONWriter) Write(text []byte) (int, error) {
	if _, err := s.w.Write(SafeJSON(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}
