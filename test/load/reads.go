package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// readFile reads a file as cat does: open, read to the end, close.
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

// timeReads reads the files in turn and prints the median and the 99th percentile, so that whatever
// disturbs the machine disturbs all alike.
func timeReads(args []string) error {
	rounds, err := number(args, 0)
	if err != nil {
		return err
	}
	files := args[1:]
	times := make([][]int64, len(files))
	buf := make([]byte, 1<<17)
	for round := range rounds + rounds/10 {
		for i, file := range files {
			start := time.Now()
			if _, err := readFile(file, buf); err != nil {
				return err
			}
			if round >= rounds/10 { // the first ones warm up
				times[i] = append(times[i], time.Since(start).Nanoseconds())
			}
		}
	}
	for i, file := range files {
		slices.Sort(times[i])
		fmt.Println(times[i][len(times[i])/2], times[i][len(times[i])*99/100], file)
	}
	return nil
}

// check reads the files with many threads, and prints how many reads there were and what was wrong.
func check(args []string) error {
	seconds, err := number(args, 0)
	if err != nil {
		return err
	}
	threads, err := number(args, 1)
	if err != nil {
		return err
	}
	var reads, wrong atomic.Int64
	var first sync.Once
	var firstErr error
	var wg sync.WaitGroup
	end := time.Now().Add(time.Duration(seconds) * time.Second)
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
		return fmt.Errorf("first of them: %w", firstErr)
	}
	return nil
}

// countReads reads a file as often as it can.
func countReads(args []string) error {
	seconds, err := number(args, 0)
	if err != nil {
		return err
	}
	threads, err := number(args, 1)
	if err != nil {
		return err
	}
	if len(args) != 3 {
		return errors.New("one FILE is needed")
	}
	var reads atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	end := time.Now().Add(time.Duration(seconds) * time.Second)
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

// checker knows what one thread has read before.
type checker struct {
	buf  []byte
	last map[string]uint64 // counters, by their name
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
			err = errors.New("it is cut off")
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
	if values["MemTotal"] == 0 || values["MemFree"] > values["MemTotal"] || values["MemAvailable"] > values["MemTotal"] ||
		values["SwapFree"] > values["SwapTotal"] {
		return errors.New("more is free than there is")
	}
	if before := c.last["MemTotal"]; before != 0 && before != values["MemTotal"] {
		return fmt.Errorf("MemTotal was %d", before) // it is another one's
	}
	c.last["MemTotal"] = values["MemTotal"]
	return nil
}

// rise tells whether a counter fell.
func (c *checker) rise(name string, n uint64) error {
	before := c.last[name]
	c.last[name] = n
	if n < before {
		return fmt.Errorf("%s fell from %d to %d", name, before, n)
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
			if err := c.rise(key+" "+strconv.Itoa(i), n); err != nil {
				return err
			}
		}
	}
	if !seen {
		return errors.New("no CPU")
	}
	return nil
}

func (c *checker) checkUptime(text []byte) error {
	fields := bytes.Fields(text)
	if len(fields) != 2 {
		return errors.New("not two numbers")
	}
	up, err := strconv.ParseFloat(string(fields[0]), 64)
	if err != nil {
		return err
	}
	return c.rise("uptime", uint64(up*100))
}

func checkCPUs(text []byte) error {
	n := 0
	for line := range bytes.Lines(text) {
		if key, value, ok := bytes.Cut(line, []byte{':'}); ok && string(bytes.TrimSpace(key)) == "processor" {
			if got := string(bytes.TrimSpace(value)); got != strconv.Itoa(n) {
				return fmt.Errorf("processor %s after %d", got, n-1)
			}
			n++
		}
	}
	if n == 0 {
		return errors.New("no processor")
	}
	return nil
}
