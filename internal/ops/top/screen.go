package top

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/gdamore/tcell/v2/terminfo"
)

// NewTerminal opens the terminal of the process for a Screen.
func NewTerminal() (tcell.Screen, error) {
	// For an unknown terminal tcell.NewScreen would execute infocmp.
	name := os.Getenv("TERM")
	info, err := terminfo.LookupTerminfo(name)
	if err != nil {
		return nil, fmt.Errorf("use the terminal: unknown TERM %q: try TERM=xterm, or --once", name)
	}
	terminal, err := tcell.NewTerminfoScreenFromTtyTerminfo(nil, info)
	if err != nil {
		return nil, fmt.Errorf("use the terminal: %w", err)
	}
	return terminal, nil
}

// Screen shows rows on a terminal.
type Screen struct {
	Terminal tcell.Screen
	By       string // one of Orders
	Interval time.Duration

	// seen is the last sample. hasSeen is set after the first.
	seen    Seen
	hasSeen bool
	// top is the index of the first row that is shown.
	top int
}

// maxNameOnScreen is the width of names, which leaves room for values.
const maxNameOnScreen = 20

// Lines of the screen above the rows, and below them.
const (
	summaryLine = iota
	noteLine
	titleLine
	linesAbove
	linesBelow = 1
)

const keyLine = "q quit   c m l n or left, right: sort by cpu, memory, load, name" +
	"   up, down, pgup, pgdn: scroll"

// Run shows updates until the user quits or ctx ends.
func (s *Screen) Run(ctx context.Context, updates <-chan Seen) error {
	if err := s.Terminal.Init(); err != nil {
		return fmt.Errorf("use the terminal: %w", err)
	}
	defer s.Terminal.Fini()
	events, quit := make(chan tcell.Event), make(chan struct{})
	defer close(quit)
	go s.Terminal.ChannelEvents(events, quit)
	for {
		s.draw()
		select {
		case <-ctx.Done():
			return nil
		case seen := <-updates:
			s.seen, s.hasSeen = seen, true
		case event, ok := <-events:
			if !ok {
				return nil
			}
			if done, err := s.handle(event); done || err != nil {
				return err
			}
		}
	}
}

// handle handles an event, and reports whether the user quits.
func (s *Screen) handle(event tcell.Event) (done bool, err error) {
	switch event := event.(type) {
	case *tcell.EventError:
		return true, fmt.Errorf("read the terminal: %w", event)
	case *tcell.EventResize:
		s.Terminal.Sync()
	case *tcell.EventKey:
		return s.press(event), nil
	}
	return false, nil
}

// press handles a key, and reports whether the user quits.
func (s *Screen) press(event *tcell.EventKey) (done bool) {
	switch event.Key() {
	case tcell.KeyEscape, tcell.KeyCtrlC:
		return true
	case tcell.KeyLeft:
		s.turn(len(Orders) - 1)
	case tcell.KeyRight:
		s.turn(1)
	case tcell.KeyUp:
		s.top--
	case tcell.KeyDown:
		s.top++
	case tcell.KeyPgUp:
		s.top -= s.room()
	case tcell.KeyPgDn:
		s.top += s.room()
	case tcell.KeyHome:
		s.top = 0
	case tcell.KeyEnd:
		s.top = len(s.seen.Rows)
	case tcell.KeyRune:
		isKey := func(order string) bool { return rune(order[0]) == event.Rune() }
		if i := slices.IndexFunc(Orders, isKey); i >= 0 {
			s.By = Orders[i]
		}
		return event.Rune() == 'q' || event.Rune() == 'Q'
	}
	return false
}

// turn sorts by the order that is n after the current one.
func (s *Screen) turn(n int) { s.By = Orders[(slices.Index(Orders, s.By)+n)%len(Orders)] }

// room returns the number of rows that fit on the screen.
func (s *Screen) room() int {
	_, height := s.Terminal.Size()
	return max(height-linesAbove-linesBelow, 0)
}

func (s *Screen) draw() {
	s.Terminal.Clear()
	s.top = max(min(s.top, len(s.seen.Rows)-s.room()), 0)
	plain := tcell.StyleDefault
	note := "looking for containers"
	if s.hasSeen {
		note = s.seen.Note()
	}
	Sort(s.seen.Rows, s.By)
	lines := Table(s.seen.Rows, maxNameOnScreen)
	summary := fmt.Sprintf("containers: %d   every %v   sorted by %s",
		len(s.seen.Rows), s.Interval, s.By)
	s.line(summaryLine, summary, plain.Bold(true))
	s.line(noteLine, note, plain)
	s.line(titleLine, lines[0], plain.Reverse(true))
	shown := lines[1+s.top:]
	for i, text := range shown[:min(s.room(), len(shown))] {
		s.line(linesAbove+i, text, plain)
	}
	if _, height := s.Terminal.Size(); height > linesAbove {
		s.line(height-linesBelow, keyLine, plain.Dim(true))
	}
	s.Terminal.Show()
}

// line writes a line of the screen, cut off at its width. Characters other than printable ASCII are
// written as "?".
func (s *Screen) line(y int, text string, style tcell.Style) {
	width, _ := s.Terminal.Size()
	if _, _, reversed := style.Decompose(); reversed&tcell.AttrReverse != 0 {
		text += strings.Repeat(" ", max(width-len(text), 0))
	}
	x := 0
	for _, r := range text {
		if r < ' ' || r > '~' {
			r = '?'
		}
		s.Terminal.SetContent(x, y, r, nil, style)
		x++
	}
}
