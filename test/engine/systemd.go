package engine

import (
	"os/exec"
	"strings"
	"testing"
)

// SystemCalls returns the system calls in a group of systemd's SystemCallFilter=.
func SystemCalls(t testing.TB, group string) (names []string) {
	t.Helper()
	out, err := exec.Command("systemd-analyze", "syscall-filter", group).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		switch word := strings.TrimSpace(line); {
		case !strings.HasPrefix(line, " ") || strings.HasPrefix(word, "#"):
		case strings.HasPrefix(word, "@"):
			names = append(names, SystemCalls(t, word)...)
		default:
			names = append(names, word)
		}
	}
	return names
}
