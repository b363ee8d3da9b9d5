package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// watch reads files over and over with many threads, each with a pause after each, until there is a file NOTES.stop. It writes its state, when it
// began, how many reads there were, how many were wrong, and the first that was, to the file NOTES.
func watch(args []string) error {
	threads, err := number(args, 1)
	if err != nil {
		return err
	}
	if len(args) < 4 {
		return errors.New("PAUSE or FILE is missing")
	}
	pause, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	notes, files := args[0], args[3:]
	var reads, wrong atomic.Int64
	var first atomic.Value
	var wg sync.WaitGroup
	var over atomic.Bool
	for range threads {
		wg.Go(func() {
			c := checker{buf: make([]byte, 1<<16), last: make(map[string]uint64)}
			for i := 0; !over.Load(); i++ {
				if err := c.check(files[i%len(files)]); err != nil {
					wrong.Add(1)
					first.CompareAndSwap(nil, err.Error())
				}
				reads.Add(1)
				time.Sleep(pause) // others are to have their turn, too
			}
		})
	}
	started := time.Now().UnixNano()
	note := func(state string) error {
		text := fmt.Sprintf("%s %d %d %d %v\n", state, started, reads.Load(), wrong.Load(), first.Load())
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
	over.Store(true)
	wg.Wait()
	return note("ended")
}
