package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// resultMark begins the line with which the guest tells how a test binary has ended.
const resultMark = "palisade-result: "

// boot runs the guest, copies what it prints, and fails unless each of the tests has passed.
func boot(ctx context.Context, kernel, initrd string, memory int, tests []string) error {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "4", "-m", strconv.Itoa(memory),
		"-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 psi=1 swapaccount=1",
		"-nographic", "-no-reboot", "-nic", "none")
	cmd.WaitDelay = time.Second
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (make deps installs qemu)", err)
	}
	started := time.Now()
	results := make(map[string]string)
	for lines := bufio.NewScanner(console); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		if result, ok := strings.CutPrefix(line, resultMark); ok {
			name, code, _ := strings.Cut(result, " ")
			results[name] = code
			continue
		}
		if isNoise(line) {
			continue
		}
		fmt.Println(line)
	}
	if err := cmd.Wait(); err != nil || ctx.Err() != nil {
		return fmt.Errorf("qemu: %w after %v", err, time.Since(started).Round(time.Second))
	}
	for _, name := range tests {
		if code, ok := results[name]; !ok {
			return fmt.Errorf("the guest ended before the tests of %s did", name)
		} else if code != "0" {
			return fmt.Errorf("the tests of %s have failed", name)
		}
		fmt.Printf("ok  \t%s (guest)\n", name)
	}
	return nil
}

// isNoise tells what the firmware and the kernel print from what tests do.
func isNoise(line string) bool {
	for _, prefix := range []string{"SeaBIOS", "iPXE", "Booting from", "\x1b", "[ "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return line == ""
}
