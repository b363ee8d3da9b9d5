package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// resultMark begins a line with the exit code of a test binary.
const resultMark = "palisade-result: "

// fileMark begins the line before a file that the guest sends, endMark is the line after it.
const (
	fileMark = "palisade-file: "
	endMark  = "palisade-file-end"
)

// machine is the configuration of qemu.
type machine struct {
	kernel, initrd      string
	disks               []string
	memory, cpus, nodes int
	// counted means that the guest has one CPU, and its clock counts instructions instead of time.
	counted bool
}

// numa returns options for NUMA nodes with the distances 10 and 21. The last one has what remains
// of the memory and the CPUs.
func (m machine) numa() (args []string) {
	for node := range m.nodes {
		memory, first, last := m.memory/m.nodes, node*(m.cpus/m.nodes), (node+1)*(m.cpus/m.nodes)-1
		if node == m.nodes-1 {
			memory, last = m.memory-node*memory, m.cpus-1
		}
		args = append(args, "-object", fmt.Sprintf("memory-backend-ram,id=ram%d,size=%dM", node, memory),
			"-numa", fmt.Sprintf("node,nodeid=%d,memdev=ram%d,cpus=%d-%d", node, node, first, last))
	}
	for from := range m.nodes {
		for to := range m.nodes {
			if from != to {
				args = append(args, "-numa", fmt.Sprintf("dist,src=%d,dst=%d,val=21", from, to))
			}
		}
	}
	return args
}

// boot runs the guest, copies its output, and fails unless all of the tests have passed.
func boot(ctx context.Context, m machine, tests []string) error {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-cpu", "max", "-m", strconv.Itoa(m.memory),
		"-kernel", m.kernel, "-initrd", m.initrd, "-append", "console=ttyS0 quiet panic=-1 psi=1 swapaccount=1",
		"-nographic", "-no-reboot", "-nic", "none")
	if m.counted {
		cmd.Args = append(cmd.Args, "-accel", "tcg", "-smp", "1", "-icount", "shift=0,sleep=off")
	} else {
		cmd.Args = append(cmd.Args, "-accel", "tcg,thread=multi", "-smp", strconv.Itoa(m.cpus))
		cmd.Args = append(cmd.Args, m.numa()...)
	}
	for _, disk := range m.disks {
		cmd.Args = append(cmd.Args, "-drive", "if=virtio,format=raw,readonly=on,file="+disk)
	}
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
	var file *os.File
	for lines := bufio.NewScanner(console); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		if _, name, ok := strings.Cut(line, fileMark); ok { // what the firmware wrote may precede it
			if file, err = create(name); err != nil {
				return err
			}
			continue
		}
		if file != nil {
			if line == endMark {
				file.Close()
				file = nil
				continue
			}
			fmt.Fprintln(file, line)
			continue
		}
		if _, result, ok := strings.Cut(line, resultMark); ok { // a kernel message may precede it
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
			return fmt.Errorf("the guest stopped before the tests of %s ended", name)
		} else if code != "0" {
			return fmt.Errorf("the tests of %s failed", name)
		}
		fmt.Printf("ok  \t%s (guest)\n", name)
	}
	return nil
}

// create creates a file in dist/report.
func create(name string) (*os.File, error) {
	const dir = "dist/report"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	fmt.Println("the report is", filepath.Join(dir, filepath.Base(name)))
	return os.Create(filepath.Join(dir, filepath.Base(name)))
}

// isNoise reports whether a line is from the firmware or the kernel.
func isNoise(line string) bool {
	for _, prefix := range []string{"SeaBIOS", "iPXE", "Booting from", "\x1b", "[ "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return line == ""
}
