package main

import (
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"
)

// hold takes a write lease and an exclusive lock on each file, or COUNT read leases, shared locks
// and inotify watches, up to fs.inotify.max_user_instances. It prints a line with the errors for
// each file, then "held", and waits until it is killed.
func hold(args []string) error {
	count, err := number(args, 0)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGIO) // sent to break the lease
	leaseKind, lockKind := syscall.F_WRLCK, syscall.LOCK_EX
	if count > 1 {
		leaseKind, lockKind = syscall.F_RDLCK, syscall.LOCK_SH
	}
	for _, file := range args[1:] {
		var errs [3]error
		for range count {
			fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open %s: %w", file, err)
			}
			for i, err := range []error{
				syscall.Flock(fd, lockKind|syscall.LOCK_NB),
				syscall.FcntlFlock(uintptr(fd), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_RDLCK}),
				lease(fd, leaseKind),
			} {
				errs[i] = errors.Join(errs[i], err)
			}
		}
		fmt.Printf("%s: flock %v, lock %v, lease %v\n", file, errs[0], errs[1], errs[2])
	}
	for range count - 1 {
		if _, err := watchFiles(args[1:]); err != nil {
			break
		}
	}
	fmt.Println("held")
	select {}
}

// watchFiles returns an inotify descriptor for accesses to the files.
func watchFiles(files []string) (int, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		const mask = syscall.IN_OPEN | syscall.IN_ACCESS | syscall.IN_CLOSE
		if _, err := syscall.InotifyAddWatch(fd, file, mask); err != nil {
			return 0, fmt.Errorf("watch %s: %w", file, err)
		}
	}
	return fd, nil
}

// printEvents prints "watched", and a line for each inotify event of the files.
func printEvents(files []string) error {
	fd, err := watchFiles(files)
	if err != nil {
		return err
	}
	fmt.Println("watched")
	buf := make([]byte, 64<<10)
	for {
		n, err := syscall.Read(fd, buf)
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

// grab prints "grabbing", tries to get leases on the files until it is killed, and prints a line
// for each lease that is granted.
func grab(files []string) error {
	signal.Ignore(syscall.SIGIO)
	for _, file := range files {
		fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
		go func() {
			for {
				for kind, name := range map[int]string{
					syscall.F_WRLCK: "write", syscall.F_RDLCK: "read",
				} {
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
