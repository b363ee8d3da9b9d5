package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// half is an open file of which the first half was read.
type half struct {
	path string
	fd   int
	// rest is the expected second half.
	rest []byte
}

// readHalves opens the files COUNT times, reads the first halves byte by byte, creates
// /tmp/halfway, and waits for /tmp/go, while the test replaces the server. The second halves must
// match the first.
func readHalves(args []string) error {
	count, err := number(args, 0)
	if err != nil {
		return err
	}
	var halves []*half
	for i := range count {
		h, err := openHalf(args[1+i%(len(args)-1)])
		if err != nil {
			return err
		}
		halves = append(halves, h)
	}
	if err := os.WriteFile("/tmp/halfway", nil, 0o644); err != nil {
		return err
	}
	for _, err := os.Stat("/tmp/go"); err != nil; _, err = os.Stat("/tmp/go") {
		time.Sleep(10 * time.Millisecond)
	}
	errs := make([]error, len(halves))
	var wg sync.WaitGroup
	for i, h := range halves {
		wg.Go(func() { errs[i] = h.readRest() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Println("halves", len(halves))
	return nil
}

func openHalf(path string) (*half, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	one, all := make([]byte, 1), make([]byte, 1<<20)
	if _, err := syscall.Read(fd, one); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	n, err := syscall.Pread(fd, all, 1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for range n / 2 {
		if m, err := syscall.Read(fd, one); err != nil || m != 1 {
			return nil, fmt.Errorf("read %s: %d bytes, %w", path, m, err)
		}
	}
	return &half{path, fd, all[n/2 : n]}, nil
}

func (h *half) readRest() error {
	var got []byte
	for one := make([]byte, 1); ; {
		n, err := syscall.Read(h.fd, one)
		if err != nil {
			return fmt.Errorf("read %s: %w", h.path, err)
		}
		if n == 0 {
			break
		}
		got = append(got, one[0])
	}
	if !bytes.Equal(got, h.rest) {
		return fmt.Errorf("read rest of %s: got %.200q, %d bytes, want %.200q, %d bytes",
			h.path, got, len(got), h.rest, len(h.rest))
	}
	return syscall.Close(h.fd)
}
