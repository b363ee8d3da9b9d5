package clidoc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// In a man page the part between these lines is made here. The rest is written by hand.
const (
	begin = "<!-- From here on it is made of the program's own definition: go test ./cmd/%s -update -->\n\n"
	end   = "\n<!-- Up to here. -->\n"
)

// Check compares the man page and the completions below a folder with the program, and tells what differs, or writes them.
func (p Program) Check(root string, update bool) error {
	name := p.App.Name
	page := filepath.Join(root, "docs", "man", name+".8.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	first := fmt.Sprintf(begin, name)
	head, rest, ok := strings.Cut(string(text), first)
	_, tail, okTail := strings.Cut(rest, end)
	if !ok || !okTail {
		return fmt.Errorf("%s has no part for the options: %q", page, first)
	}
	return errors.Join(
		compare(page, head+first+p.Options()+end+tail, update),
		compare(filepath.Join(root, "completions", "bash", name), p.Bash(), update),
		compare(filepath.Join(root, "completions", "zsh", "_"+name), p.Zsh(), update),
	)
}

func compare(file, want string, update bool) error {
	if update {
		return os.WriteFile(file, []byte(want), 0o644)
	}
	text, err := os.ReadFile(file)
	if err == nil && string(text) != want {
		err = fmt.Errorf("%s does not fit the program: go test with -update writes it", file)
	}
	return err
}
