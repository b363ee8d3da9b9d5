package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"palisade/internal/inject/engine"
)

// shownScreen is a screen on a simulated terminal, step by step.
type shownScreen struct {
	Screen
	terminal tcell.SimulationScreen
}

func showScreen(t *testing.T) *shownScreen {
	t.Helper()
	terminal := tcell.NewSimulationScreen("")
	if err := terminal.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(terminal.Fini)
	s := &shownScreen{Screen{Terminal: terminal, By: Orders[0], Interval: 2 * time.Second}, terminal}
	s.draw()
	s.shows(t, "containers: 0", "looking for containers")
	return s
}

// lines returns the lines of the terminal.
func (s *shownScreen) lines() []string {
	cells, width, height := s.terminal.GetContents()
	var lines []string
	for y := range height {
		var b strings.Builder
		for _, cell := range cells[y*width : (y+1)*width] {
			b.Write(cell.Bytes)
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// shows checks that all texts are on the screen, in this order.
func (s *shownScreen) shows(t *testing.T, texts ...string) {
	t.Helper()
	shown := strings.Join(s.lines(), "\n")
	rest := shown
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Errorf("no %q of %q in\n%s", text, texts, shown)
		}
		rest = after
	}
}

// sees sends it a sample.
func (s *shownScreen) sees(seen Seen) {
	s.seen, s.hasSeen = seen, true
	s.draw()
}

// presses presses keys: runes, or tcell.Keys.
func (s *shownScreen) presses(t *testing.T, keys ...any) {
	t.Helper()
	for _, key := range keys {
		event := tcell.NewEventKey(tcell.KeyRune, 0, tcell.ModNone)
		switch key := key.(type) {
		case rune:
			event = tcell.NewEventKey(tcell.KeyRune, key, tcell.ModNone)
		case tcell.Key:
			event = tcell.NewEventKey(key, 0, tcell.ModNone)
		}
		if done, err := s.handle(event); done || err != nil {
			t.Errorf("%v: the end, %v", key, err)
		}
		s.draw()
	}
}

// resizes makes the terminal larger or smaller.
func (s *shownScreen) resizes(t *testing.T, width, height int) {
	t.Helper()
	s.terminal.SetSize(width, height)
	if done, err := s.handle(tcell.NewEventResize(width, height)); done || err != nil {
		t.Errorf("the end, %v", err)
	}
	s.draw()
}

func TestScreen(t *testing.T) {
	s := showScreen(t)
	s.sees(Seen{Rows: rows(t)})
	s.shows(
		t, "containers: 4   every 2s   sorted by cpu", "CONTAINER", "\ndb ", "0123456789ab", `\x1b[2J`,
		"gone", "q quit",
	)
	checkGolden(t, "screen", s.lines())
	for _, tt := range []struct {
		key  any
		want []string
	}{
		{'n', []string{"sorted by name", "gone", `\x1b[2J`, "\ndb ", "0123456789ab"}},
		{tcell.KeyRight, []string{"sorted by cpu"}},
		{tcell.KeyLeft, []string{"sorted by name"}},
		{'m', []string{"sorted by memory", "\ndb ", "0123456789ab", "gone"}},
		{'l', []string{"sorted by load", "\ndb ", "0123456789ab"}},
		{'c', []string{"sorted by cpu"}},
		{'x', []string{"sorted by cpu"}},
	} {
		s.presses(t, tt.key)
		s.shows(t, tt.want...)
	}
	s.sees(Seen{Err: errors.New("lxcfs on /x\x1b[2J is dead:\nits server is gone"), Rows: rows(t)[:1]})
	s.shows(t, "containers: 1", `lxcfs on /x\x1b[2J is dead:; its server is gone`, "gone", "-")
	s.sees(Seen{Skipped: []engine.Skipped{{Source: "docker", Error: "too slow"}}})
	s.shows(t, "containers: 0", "containers of docker not listed: too slow")
	s.sees(Seen{Rows: rows(t), Unknown: 1})
	s.shows(t, "no values for 1 of 4")
}

// TestScreenScrolls scrolls through more containers than lines, on terminals of several sizes.
func TestScreenScrolls(t *testing.T) {
	s := showScreen(t)
	var many []Row
	for i := range 100 {
		many = append(many, Row{ID: fmt.Sprintf("c%03d", i), PID: 1000 + i})
	}
	s.sees(Seen{Rows: many})
	s.shows(t, "CONTAINER", "\nc000", "c020", "\nq quit") // of 25 lines
	s.presses(t, tcell.KeyDown)
	s.shows(t, "CONTAINER", "\nc001", "c021", "\nq quit")
	s.presses(t, tcell.KeyPgDn)
	s.shows(t, "CONTAINER", "\nc022", "c042", "\nq quit")
	s.presses(t, tcell.KeyEnd, tcell.KeyDown, tcell.KeyPgDn)
	s.shows(t, "CONTAINER", "c079", "c099", "\nq quit")
	s.presses(t, tcell.KeyUp)
	s.shows(t, "CONTAINER", "\nc078", "c098", "\nq quit")
	s.presses(t, tcell.KeyPgUp)
	s.shows(t, "CONTAINER", "\nc057", "c077", "\nq quit")
	s.resizes(t, 30, 10)
	s.shows(t, "CONTAINER", "\nc057", "\nc062", "\nq quit")
	s.presses(t, tcell.KeyHome, tcell.KeyUp, tcell.KeyPgUp)
	s.shows(t, "CONTAINER", "\nc000", "\nc005", "\nq quit")
	for _, size := range [][2]int{{1, 1}, {200, 2}, {5, 3}, {80, 4}, {0, 0}, {300, 200}} {
		s.resizes(t, size[0], size[1])
	}
	s.shows(t, "\nc000", "\nc099", "\nq quit")
	s.sees(Seen{Rows: many[:1]})
	s.shows(t, "containers: 1", "\nc000", "\n\n", "\nq quit")
}

// TestScreenRuns ends a screen in every possible way.
func TestScreenRuns(t *testing.T) {
	for name, end := range map[string]func(terminal tcell.SimulationScreen, cancel func()){
		"q":      func(terminal tcell.SimulationScreen, _ func()) { terminal.InjectKey(tcell.KeyRune, 'q', tcell.ModNone) },
		"escape": func(terminal tcell.SimulationScreen, _ func()) { terminal.InjectKey(tcell.KeyEscape, 0, tcell.ModNone) },
		"ctrl-c": func(terminal tcell.SimulationScreen, _ func()) { terminal.InjectKey(tcell.KeyCtrlC, 0, tcell.ModNone) },
		"signal": func(_ tcell.SimulationScreen, cancel func()) { cancel() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		terminal, updates, done := tcell.NewSimulationScreen(""), make(chan Seen), make(chan error, 1)
		screen := Screen{Terminal: terminal, By: "name", Interval: time.Second}
		go func() { done <- screen.Run(ctx, updates) }()
		updates <- Seen{Rows: rows(t)}
		end(terminal, cancel)
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s is not the end", name)
		}
	}
	broken := Screen{Terminal: tcell.NewSimulationScreen("")}
	if done, err := broken.handle(tcell.NewEventError(errors.New("gone"))); !done || err == nil {
		t.Errorf("a terminal that is gone: %v, %v", done, err)
	}
}

func TestUnknownTerminal(t *testing.T) {
	for _, name := range []string{"", "frobnicator", "-V", "../../etc/passwd"} {
		t.Setenv("TERM", name)
		if _, err := NewTerminal(); err == nil ||
			!strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
			t.Errorf("TERM=%s: %v", name, err)
		}
	}
}
