package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

// checkSizes checks that st_size of each file is the length of its content, as programs that copy
// files assume. In every second round another thread opens the file.
func checkSizes(args []string) error {
	rounds, err := number(args, 0)
	if err != nil {
		return err
	}
	errs := make([]error, len(args)-1)
	var wg sync.WaitGroup
	for i, path := range args[1:] {
		wg.Go(func() {
			runtime.LockOSThread()
			for n := 0; n < rounds && errs[i] == nil; n++ {
				errs[i] = checkSize(path, n%2 == 1)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func checkSize(path string, otherThread bool) (err error) {
	var f *os.File
	if otherThread {
		opened := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			f, err = os.Open(path)
			close(opened)
		}()
		<-opened
	} else {
		f, err = os.Open(path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if info.Size() != int64(len(text)) {
		return fmt.Errorf("%s: st_size %d, but %d bytes read", path, info.Size(), len(text))
	}
	return nil
}
