package main

import (
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"
)

// hold takes what the kernel keeps by inode: a lock of each kind, and a lease. It prints a line for each
// file that says what was granted, and "held", and keeps all until it is killed.
func hold(files []string) error {
	signal.Ignore(syscall.SIGIO) // which asks for the lease back
	for _, file := range files {
		fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
		flock := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		lock := syscall.FcntlFlock(uintptr(fd), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_RDLCK})
		fmt.Printf("%s: flock %v, lock %v, lease %v\n", file, flock, lock, lease(fd, syscall.F_WRLCK))
	}
	fmt.Println("held")
	select {}
}

// printEvents prints "watched", and a line for each event of an inotify watch on one of the files.
func printEvents(files []string) error {
	watch, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, err := syscall.InotifyAddWatch(watch, file, syscall.IN_OPEN|syscall.IN_ACCESS|syscall.IN_CLOSE); err != nil {
			return fmt.Errorf("watch %s: %w", file, err)
		}
	}
	fmt.Println("watched")
	buf := make([]byte, 64<<10)
	for {
		n, err := syscall.Read(watch, buf)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		for range n / syscall.SizeofInotifyEvent {
			fmt.Println("event")
		}
	}
}

func lease(fd, kind int) error {
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETLEASE, uintptr(kind))
	if errno != 0 {
		return errno
	}
	return nil
}

// grab tries to get a lease on one of the files, which it keeps open, until it is killed. It prints a line
// for each that is granted.
func grab(files []string) error {
	signal.Ignore(syscall.SIGIO)
	for _, file := range files {
		fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
		go func() {
			for {
				for kind, name := range map[int]string{syscall.F_WRLCK: "write", syscall.F_RDLCK: "read"} {
					if lease(fd, kind) == nil {
						fmt.Println("granted:", name, file)
						lease(fd, syscall.F_UNLCK)
					}
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
	fmt.Println("grabbing")
	select {}
}
