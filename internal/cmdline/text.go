package cmdline

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// OneLine makes text of others a part of a line on a terminal: errors.Join puts each error on its own line, and what is no
// printable character (escape sequences, characters that turn the direction of writing) is shown as Go writes it in a string.
func OneLine(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "), "\t", " ")
	if isPrintable(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if isPrintable(text[:size]) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.Quote(text[:size]), `"`))
		}
		text = text[size:]
	}
	return b.String()
}

// Word makes a name that others have given one word of a table: as it is, if it has nothing but graphic ASCII characters, else quoted and
// escaped as in Go, and without spaces.
func Word(name string) string {
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return strings.ReplaceAll(strconv.QuoteToASCII(name), " ", `\x20`)
		}
	}
	return name
}

// SafeJSON writes what is no printable character in a JSON text as an escape, which is the same for who parses it: in strings alone can
// there be such characters.
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

// isPrintable tells whether a terminal shows the text, and does nothing else with it.
func isPrintable(text string) bool {
	for _, r := range text {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(text)
}
