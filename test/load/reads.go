package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// readFile reads a file into buf, which it grows if need be: open, read to the end, close.
func readFile(path string, buf []byte) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer syscall.Close(fd)
	n := 0
	for {
		if n == len(buf) {
			buf = append(buf, make([]byte, len(buf)+page)...)
		}
		m, err := syscall.Read(fd, buf[n:])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if m == 0 {
			return buf[:n], nil
		}
		n += m
	}
}

// check reads the files with several threads, and prints the numbers of reads and of invalid
// contents.
func check(args []string) error {
	end, threads, err := secondsAndThreads(args)
	if err != nil {
		return err
	}
	var reads, wrong atomic.Int64
	var first sync.Once
	var firstErr error
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			c := checker{buf: make([]byte, 1<<16), last: make(map[string]uint64)}
			for time.Now().Before(end) {
				for _, file := range args[2:] {
					reads.Add(1)
					if err := c.check(file); err != nil {
						wrong.Add(1)
						first.Do(func() { firstErr = err })
					}
				}
			}
		})
	}
	wg.Wait()
	fmt.Println("reads", reads.Load(), "wrong", wrong.Load())
	if firstErr != nil {
		return fmt.Errorf("first error: %w", firstErr)
	}
	return nil
}

// countReads reads a file with several threads, and prints the number of reads.
func countReads(args []string) error {
	end, threads, err := secondsAndThreads(args)
	if err != nil {
		return err
	}
	if len(args) != 3 {
		return errors.New("want one FILE")
	}
	var reads atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			buf := make([]byte, 1<<17)
			n := int64(0)
			for ; time.Now().Before(end); n++ {
				if _, err := readFile(args[2], buf); err != nil {
					failed.Store(err)
					return
				}
			}
			reads.Add(n)
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return err
	}
	fmt.Println(reads.Load())
	return nil
}

// checker validates the files that one thread reads.
type checker struct {
	buf  []byte
	last map[string]uint64 // last values of counters by name
}

func (c *checker) check(path string) error {
	text, err := readFile(path, c.buf)
	if err != nil {
		return err
	}
	switch name := filepath.Base(path); name {
	case "meminfo":
		err = c.checkMeminfo(text)
	case "stat":
		err = c.checkStat(text)
	case "uptime":
		err = c.checkUptime(text)
	case "cpuinfo":
		err = checkCPUs(text)
	default:
		if len(text) == 0 && name != "diskstats" || len(text) > 0 && text[len(text)-1] != '\n' {
			err = errors.New("truncated file")
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w in %.2000q", path, err, text)
	}
	return nil
}

func (c *checker) checkMeminfo(text []byte) error {
	values := make(map[string]uint64)
	for line := range bytes.Lines(text) {
		key, rest, ok := bytes.Cut(line, []byte{':'})
		fields := bytes.Fields(rest)
		if !ok || len(fields) == 0 || line[len(line)-1] != '\n' {
			return fmt.Errorf("bad line %q", line)
		}
		n, err := strconv.ParseUint(string(fields[0]), 10, 64)
		if err != nil {
			return err
		}
		values[string(key)] = n
	}
	total := values["MemTotal"]
	if total == 0 || values["MemFree"] > total || values["MemAvailable"] > total ||
		values["SwapFree"] > values["SwapTotal"] {
		return errors.New("more free than total memory")
	}
	// A different MemTotal would be that of another container or the host.
	if last := c.last["MemTotal"]; last != 0 && last != total {
		return fmt.Errorf("MemTotal changed from %d to %d", last, total)
	}
	c.last["MemTotal"] = total
	return nil
}

// checkCounter returns an error if a counter has decreased.
func (c *checker) checkCounter(name string, n uint64) error {
	last := c.last[name]
	c.last[name] = n
	if n < last {
		return fmt.Errorf("%s decreased from %d to %d", name, last, n)
	}
	return nil
}

func (c *checker) checkStat(text []byte) error {
	seen := false
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if line[len(line)-1] != '\n' || len(fields) < 2 {
			return fmt.Errorf("bad line %q", line)
		}
		key := string(fields[0])
		counters := fields[1:]
		switch {
		case bytes.HasPrefix(fields[0], []byte("cpu")):
			seen = true
		case key == "processes" || key == "ctxt":
		default:
			continue
		}
		for i, field := range counters {
			n, err := strconv.ParseUint(string(field), 10, 64)
			if err != nil {
				return err
			}
			if err := c.checkCounter(key+" "+strconv.Itoa(i), n); err != nil {
				return err
			}
		}
	}
	if !seen {
		return errors.New("no cpu line")
	}
	return nil
}

func (c *checker) checkUptime(text []byte) error {
	fields := bytes.Fields(text)
	if len(fields) != 2 {
		return errors.New("want two numbers")
	}
	up, err := strconv.ParseFloat(string(fields[0]), 64)
	if err != nil {
		return err
	}
	return c.checkCounter("uptime", uint64(up*100))
}

func checkCPUs(text []byte) error {
	n := 0
	for line := range bytes.Lines(text) {
		key, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || string(bytes.TrimSpace(key)) != "processor" {
			continue
		}
		if got := string(bytes.TrimSpace(value)); got != strconv.Itoa(n) {
			return fmt.Errorf("processor %s after %d", got, n-1)
		}
		n++
	}
	if n == 0 {
		return errors.New("no processor")
	}
	return nil
}
