package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// printSteady prints the contents of files that it has read while the content of the first did not
// change, each after a line with its name. It opens all files before, since that uses memory.
func printSteady(names []string) error {
	const size = 64 << 10
	files, buffers, texts := make([]*os.File, len(names)), make([][]byte, len(names)), make([][]byte, len(names))
	for i, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		files[i], buffers[i] = f, make([]byte, size)
	}
	again := make([]byte, size)
	read := func(f *os.File, buf []byte) ([]byte, error) {
		n, err := f.ReadAt(buf, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return buf[:n], err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		for i := range files {
			var err error
			if texts[i], err = read(files[i], buffers[i]); err != nil {
				return err
			}
		}
		after, err := read(files[0], again)
		if err != nil {
			return err
		}
		if bytes.Equal(after, texts[0]) {
			for i, name := range names {
				fmt.Printf("%s\n%s", name, texts[i])
			}
			return nil
		}
	}
	return fmt.Errorf("%s keeps changing", names[0])
}
