package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	// askTime is the timeout of --version and --help.
	askTime = 2 * time.Second
	// maxAnswer bounds the output that is kept, in bytes.
	maxAnswer = 64 << 10
)

// ask runs a program of the host with one option, and returns the first maxAnswer bytes that it
// prints. Only root can write the program.
func ask(ctx context.Context, program, option string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, option)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	cmd.WaitDelay = 100 * time.Millisecond
	out := limitedBuffer{left: maxAnswer}
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w", program, option, err)
	}
	return out.String(), nil
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
