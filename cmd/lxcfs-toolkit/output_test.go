package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode"

	"palisade/internal/inject/toolkit"
)

// TestHostileNames prints tables with names that containers have made: nothing of them reaches the
// terminal but characters.
func TestHostileNames(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\r\t\n\u202e\u009b31m\xff"
	list := toolkit.List{Containers: []toolkit.Listed{
		{ID: "a" + evil, Names: []string{"fine", "b" + evil}, Engine: "docker", PID: 7, Cgroup: "v2",
			Alive: []string{"/c" + evil + "/proc/d" + evil}, Dead: []string{"/proc/pressure/cpu" + evil}},
		{ID: strings.Repeat("\x1b", 64), PID: 8},
	}}
	report := toolkit.Report{Results: []toolkit.Result{
		{
			ID: "a" + evil, Names: []string{"fine", "b" + evil}, PID: 7, Outcome: toolkit.Failed,
			Error: "mount on x" + evil + " fails",
		},
		{ID: "c", PID: 8, Outcome: toolkit.Done, Foreign: []string{"/proc/e" + evil}},
	}}
	for _, result := range []any{list, report} {
		var b bytes.Buffer
		g := newGlobals()
		g.JSON = true
		if err := g.Print(&b, result, nil); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("JSON has %q as it is", b.String()[i:i+1])
		}
	}
	for name, write := range map[string]func(io.Writer){
		"list":   func(w io.Writer) { printList(w, &list) },
		"report": func(w io.Writer) { printReport(w, &report) },
	} {
		var b bytes.Buffer
		if err := newGlobals().Print(&b, nil, write); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }); i >= 0 {
			t.Errorf("%s: %q is printed as it is: %q", name, text[i], text)
		}
		if n := strings.Count(text, "\n"); n != 3 {
			t.Errorf("%s: %d lines, want a head and two: %q", name, n, text)
		}
		if !strings.Contains(text, `fine "b\x1b]0;owned\a`) {
			t.Errorf("%s does not quote a name: %q", name, text)
		}
	}
}
