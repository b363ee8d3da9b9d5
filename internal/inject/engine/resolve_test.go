package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	all := []Container{
		{ID: "c64fc18de155", Names: []string{"web", "front"}, Engine: "docker", PID: 1},
		{ID: "c64f", Names: []string{"short"}, PID: 2},
		{ID: "c65000", Names: []string{"c64"}, PID: 3},
		{ID: "d1", Names: []string{"c64f"}, PID: 4},
		{ID: "d2", Names: []string{"twin"}, PID: 5},
		{ID: "e1", Names: []string{"twin", "d2"}, PID: 6},
		{ID: "nameless", PID: 7},
	}
	for _, tt := range []struct {
		given string
		pid   int
		want  string // the error
	}{
		{"c64fc18de155", 1, ""},
		{"web", 1, ""},
		{"front", 1, ""},
		{"c64fc", 1, ""},
		{"c64f", 2, ""}, // an id before a name and a prefix
		{"c64", 3, ""},  // a name before a prefix
		{"d2", 5, ""},
		{"nameless", 7, ""},
		{"n", 7, ""},
		{"c6", 0, `"c6": several containers match: c64fc18de155 (web front), c64f (short), c65000 (c64)`},
		{"twin", 0, `"twin": several containers match: d2 (twin), e1 (twin d2)`},
		{"d", 0, `"d": several containers match: d1 (c64f), d2 (twin)`},
		{"we", 0, `"we": no running container has this id or name`}, // a prefix of a name
		{"c64fc18de155x", 0, `"c64fc18de155x": no running container has this id or name`},
		{"x\ny", 0, `"x\ny": no running container has this id or name`},
		{"WEB", 0, `"WEB": no running container has this id or name`},
		{"", 0, `"": no running container has this id or name`},
	} {
		got, err := Resolve(all, tt.given)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got.PID != tt.pid || text != tt.want {
			t.Errorf("%q: got %+v, %q; want %d, %q", tt.given, got, text, tt.pid, tt.want)
		}
		if err != nil && errors.Is(err, ErrAmbiguous) == errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v is neither or both", tt.given, err)
		}
	}
	if got, err := Resolve(nil, "web"); !errors.Is(err, ErrUnknown) {
		t.Errorf("of none: got %+v, %v", got, err)
	}
}

// TestResolveUsers prefers containers of root to those of other users.
func TestResolveUsers(t *testing.T) {
	all := []Container{
		{ID: "b1", Names: []string{"b1"}, PID: 1},
		{ID: "c64fc18de155", Names: []string{"web"}, PID: 2},
		{ID: "100", Names: []string{"100"}, PID: 3},
		{ID: "1000/b1", Names: []string{"b1"}, Creator: 1000, PID: 4},
		{ID: "1000/web", Names: []string{"web"}, Creator: 1000, PID: 5},
		{ID: "1000/c64f", Names: []string{"c64f"}, Creator: 1000, PID: 6},
		{ID: "1000/own", Names: []string{"own"}, Creator: 1000, PID: 7},
		{ID: "1000/twin", Names: []string{"twin"}, Creator: 1000, PID: 8},
		{ID: "1001/twin", Names: []string{"twin"}, Creator: 1001, PID: 9},
	}
	for _, tt := range []struct {
		given string
		pid   int
		want  string // the error
	}{
		{"b1", 1, ""},
		{"web", 2, ""},
		{"100", 3, ""},
		{"10", 3, ""},
		{"1000/b1", 4, ""},
		{"own", 7, ""},
		{"1001", 9, ""},
		{"c64f", 0, `"c64f": several containers match: c64fc18de155 (web), 1000/c64f (c64f)`},
		{"twin", 0, `"twin": several containers match: 1000/twin (twin), 1001/twin (twin)`},
	} {
		got, err := Resolve(all, tt.given)
		if got.PID != tt.pid || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("%q: got %+v, %v; want %d, %q", tt.given, got, err, tt.pid, tt.want)
		}
	}
}

// TestResolveListsSome bounds the number of containers in an error.
func TestResolveListsSome(t *testing.T) {
	var all []Container
	for i := range 13 {
		all = append(all, Container{ID: fmt.Sprintf("c%02d", i), PID: 1 + i})
	}
	_, err := Resolve(all, "c")
	const list = ": c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, and 3 more"
	if !errors.Is(err, ErrAmbiguous) || !strings.HasSuffix(err.Error(), list) {
		t.Errorf("got %v", err)
	}
	_, err = Resolve(all[:10], "c")
	if !errors.Is(err, ErrAmbiguous) || !strings.HasSuffix(err.Error(), ", c08, c09") {
		t.Errorf("got %v", err)
	}
}
