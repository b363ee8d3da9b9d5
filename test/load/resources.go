package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const (
	page = 4096
	// setTHPDisable is PR_SET_THP_DISABLE.
	setTHPDisable = 41
)

func takeMemory(args []string) error {
	bytes, err := number(args, 0)
	if err != nil {
		return err
	}
	// A huge page could add 2 MiB to the measured memory.
	if _, _, errno := syscall.Syscall6(syscall.SYS_PRCTL, setTHPDisable, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("prctl PR_SET_THP_DISABLE: %w", errno)
	}
	fmt.Println("started")
	for { // until the test has measured the memory of the program itself
		if _, err := os.Stat("/tmp/take"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	mem, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	for i := 0; i < len(mem); i += page {
		mem[i] = 1
	}
	fmt.Println("ready")
	for {
		time.Sleep(time.Hour)
		runtime.KeepAlive(mem)
	}
}

func burn(args []string) error {
	threads, err := number(args, 0)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(threads + 1)
	for range threads {
		go func() {
			for n := uint64(1); n != 0; n *= 3 { // an odd number never becomes 0
				runtime.KeepAlive(n)
			}
		}()
	}
	fmt.Println("ready")
	select {}
}

func writeDirect(args []string) error {
	bytes, err := number(args, 1)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE|syscall.O_DIRECT, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := aligned(64 << 10)
	for offset := int64(0); offset < int64(bytes); offset += int64(len(buf)) {
		if _, err := f.WriteAt(buf, offset); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	for offset := int64(0); offset < int64(bytes); offset += int64(len(buf)) {
		if _, err := f.ReadAt(buf, offset); err != nil {
			return err
		}
	}
	return nil
}

// aligned returns a page-aligned buffer of n bytes for O_DIRECT.
func aligned(n int) []byte {
	buf := make([]byte, n+page)
	skip := page - int(uintptr(unsafe.Pointer(&buf[0]))%page)
	return buf[skip : skip+n]
}

func sendFile(args []string) error {
	f, err := openOnly(args)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		n, err := syscall.Sendfile(int(os.Stdout.Fd()), int(f.Fd()), nil, 1<<20)
		if err != nil {
			fmt.Fprintln(os.Stderr, "sendfile:", err)
			return copyBy(f, 1<<16)
		}
		if n == 0 {
			return nil
		}
	}
}

// openOnly opens the file that is the only argument.
func openOnly(args []string) (*os.File, error) {
	if len(args) != 1 {
		return nil, errors.New("want one FILE")
	}
	return os.Open(args[0])
}

func readPieces(args []string) error {
	size, err := number(args, 1)
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	return copyBy(f, size)
}

func copyBy(f *os.File, size int) error {
	buf := make([]byte, size)
	for {
		n, err := syscall.Read(int(f.Fd()), buf)
		if err != nil || n == 0 {
			return err
		}
		if _, err := os.Stdout.Write(buf[:n]); err != nil {
			return err
		}
	}
}

func readByMmap(args []string) error {
	f, err := openOnly(args)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := syscall.Mmap(int(f.Fd()), 0, page, syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	fmt.Println(text[0]) // SIGBUS
	return nil
}

func waitForPressure(args []string) error {
	if len(args) < 2 {
		return errors.New("want FILE and TRIGGER")
	}
	if len(args) == 3 {
		return setTriggers(args)
	}
	fd, err := setTrigger(args[0], args[1])
	if err != nil {
		return err
	}
	fmt.Println("set")
	// struct pollfd for POLLPRI
	fds := struct {
		fd      int32
		events  int16
		revents int16
	}{int32(fd), 2, 0}
	timeout := syscall.Timespec{Sec: 60}
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 1,
			uintptr(unsafe.Pointer(&timeout)), 0, 0, 0) // the kernel updates the timeout
		switch errno {
		case 0:
			fmt.Println("events", n, fds.revents)
			return nil
		case syscall.EINTR: // by a signal of the Go runtime
		default:
			return errno
		}
	}
}

func setTrigger(file, trigger string) (int, error) {
	fd, err := syscall.Open(file, syscall.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	if _, err := syscall.Write(fd, append([]byte(trigger), 0)); err != nil {
		return 0, fmt.Errorf("write trigger: %w", err)
	}
	return fd, nil
}

// setTriggers sets a trigger TIMES times, and prints the number of successes and the error.
func setTriggers(args []string) error {
	times, err := number(args, 2)
	if err != nil {
		return err
	}
	var failed error
	set := 0
	for ; set < times; set++ {
		if _, failed = setTrigger(args[0], args[1]); failed != nil {
			break
		}
	}
	fmt.Printf("set %d: %v\n", set, errors.Unwrap(failed))
	return nil
}
