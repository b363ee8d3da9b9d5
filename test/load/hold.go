package main

import (
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hold takes what the kernel keeps by inode: a lock of each kind, and a lease. It prints a line for each
// file that says what was granted, and "held", and keeps all until it is killed.
func hold(files []string) error {
	signal.Ignore(syscall.SIGIO) // which asks for the lease back
	for _, file := range files {
		fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
		flock := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		lock := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK})
		fmt.Printf("%s: flock %v, lock %v, lease %v\n", file, flock, lock, lease(fd, unix.F_WRLCK))
	}
	fmt.Println("held")
	select {}
}

// printEvents prints "watched", and a line for each event of an inotify watch on one of the files.
func printEvents(files []string) error {
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, err := unix.InotifyAddWatch(watch, file, unix.IN_OPEN|unix.IN_ACCESS|unix.IN_CLOSE); err != nil {
			return fmt.Errorf("watch %s: %w", file, err)
		}
	}
	fmt.Println("watched")
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(watch, buf)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for range n / unix.SizeofInotifyEvent {
			fmt.Println("event")
		}
	}
}

func lease(fd, kind int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, kind)
	return err
}

// grab tries to get a lease on one of the files, which it keeps open, until it is killed. It prints a line
// for each that is granted.
func grab(files []string) error {
	signal.Ignore(syscall.SIGIO)
	for _, file := range files {
		fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
		go func() {
			for {
				for kind, name := range map[int]string{unix.F_WRLCK: "write", unix.F_RDLCK: "read"} {
					if lease(fd, kind) == nil {
						fmt.Println("granted:", name, file)
						lease(fd, unix.F_UNLCK)
					}
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
	fmt.Println("grabbing")
	select {}
}
