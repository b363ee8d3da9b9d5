package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// kind is what is measured: a question, asked again and again at a socket.
type kind struct {
	name     string
	kept     bool // the connection is kept
	question []byte
	socket   func(*process) string
}

// measure has the clients ask as often in all.
func (k *kind) measure(p *process, requests int) (result, error) {
	took := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wait sync.WaitGroup
	started := time.Now()
	for i := range clients {
		wait.Go(func() { took[i], errs[i] = k.client(k.socket(p), requests/clients) })
	}
	wait.Wait()
	elapsed := time.Since(started)
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	if err := errors.Join(errs...); err != nil {
		return result{}, fmt.Errorf("%s: %w", k.name, err)
	}
	return result{float64(len(all)) / elapsed.Seconds(), all[len(all)/2], all[len(all)*99/100]}, nil
}

func (k *kind) client(path string, requests int) (took []time.Duration, err error) {
	took = make([]time.Duration, 0, requests)
	var c net.Conn
	answer := bufio.NewReader(nil)
	for range requests {
		started := time.Now()
		if c == nil {
			if c, err = net.Dial("unix", path); err != nil {
				return nil, err
			}
			answer.Reset(c)
		}
		if _, err = c.Write(k.question); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if err := readAllowed(answer); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if !k.kept {
			if err := c.Close(); err != nil {
				return nil, err
			}
			c = nil
		}
		took = append(took, time.Since(started))
	}
	if c != nil {
		err = c.Close()
	}
	return took, err
}

var (
	okStatus   = []byte("HTTP/1.1 200 ")
	lengthIs   = []byte("Content-Length: ")
	allowedTag = []byte(`"Allow":true`)
)

// readAllowed reads an answer, and fails of one that does not allow.
func readAllowed(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, okStatus) {
		return fmt.Errorf("the answer is %q", status)
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if digits, ok := bytes.CutPrefix(line, lengthIs); ok {
			for _, d := range bytes.TrimSpace(digits) {
				length = 10*length + int(d-'0')
			}
		}
	}
	body, err := r.Peek(length)
	if err != nil {
		return err
	}
	if length > 0 && !bytes.Contains(body, allowedTag) {
		return fmt.Errorf("the answer is %q", body)
	}
	_, err = r.Discard(length)
	return err
}
