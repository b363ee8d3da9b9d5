package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// watch reads files with several threads, which pause after each read, until NOTES.stop exists. It
// writes to the file NOTES: its state, the start time, the numbers of reads and of invalid
// contents, and the first error.
func watch(args []string) error {
	threads, err := number(args, 1)
	if err != nil {
		return err
	}
	if len(args) < 4 {
		return errors.New("want PAUSE and FILE")
	}
	pause, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	notes, files := args[0], args[3:]
	var reads, wrong atomic.Int64
	var first atomic.Value
	var wg sync.WaitGroup
	var stopped atomic.Bool
	for range threads {
		wg.Go(func() {
			c := checker{buf: make([]byte, 1<<16), last: make(map[string]uint64)}
			for i := 0; !stopped.Load(); i++ {
				if err := c.check(files[i%len(files)]); err != nil {
					wrong.Add(1)
					first.CompareAndSwap(nil, err.Error())
				}
				reads.Add(1)
				time.Sleep(pause)
			}
		})
	}
	start := time.Now().UnixNano()
	note := func(state string) error {
		text := fmt.Sprintf("%s %d %d %d %v\n", state, start, reads.Load(), wrong.Load(), first.Load())
		if err := os.WriteFile(notes+".new", []byte(text), 0o644); err != nil {
			return err
		}
		return os.Rename(notes+".new", notes)
	}
	for _, err := os.Stat(notes + ".stop"); err != nil; _, err = os.Stat(notes + ".stop") {
		if err := note("reads"); err != nil {
			return err
		}
		time.Sleep(max(2*pause, 20*time.Millisecond))
	}
	stopped.Store(true)
	wg.Wait()
	return note("ended")
}
