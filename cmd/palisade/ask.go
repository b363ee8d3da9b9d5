package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	// askTime is the timeout of --version and --help.
	askTime = 2 * time.Second
	// maxVersion and maxHelp bound the output that is kept, in bytes.
	maxVersion = 4096
	maxHelp    = 64 << 10
)

// askVersion returns the version that a program of the host prints. Only root can write the
// program.
func askVersion(ctx context.Context, program string) (string, error) {
	text, err := ask(ctx, program, "--version", maxVersion)
	return versionIn(text), err
}

func askHelp(ctx context.Context, program string) (string, error) {
	return ask(ctx, program, "--help", maxHelp)
}

// ask runs a program with one option, and returns the first limit bytes that it prints.
func ask(ctx context.Context, program, option string, limit int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, option)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	cmd.WaitDelay = 100 * time.Millisecond
	out := limitedBuffer{left: limit}
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w", program, option, err)
	}
	return out.String(), nil
}

// versionIn returns the version in the first line of a program's output: the word after "version",
// or the last one.
func versionIn(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return ""
	}
	word := words[len(words)-1]
	isWord := func(w string) bool { return strings.EqualFold(w, "version") }
	if i := slices.IndexFunc(words, isWord); i >= 0 && i+1 < len(words) {
		word = words[i+1]
	} else if len(words) == 4 && words[0] == "containerd" {
		word = words[2] // before it the name twice, after it the commit
	}
	return strings.TrimSuffix(word, ",")
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	strings.Builder
	left int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	kept := p[:min(len(p), b.left)]
	b.left -= len(kept)
	b.Builder.Write(kept)
	return len(p), nil
}
