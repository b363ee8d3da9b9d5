package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
)

// sleepers starts threads that sleep forever.
func sleepers(args []string) error {
	threads, err := number(args, 0)
	if err != nil {
		return err
	}
	debug.SetMaxThreads(threads + 1000)
	var asleep sync.WaitGroup
	for range threads {
		asleep.Add(1)
		go func() {
			runtime.LockOSThread()
			asleep.Done()
			for {
				syscall.Pause()
			}
		}()
	}
	asleep.Wait()
	fmt.Println("ready")
	select {}
}
