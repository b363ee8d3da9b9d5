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

// kind is a measured kind of request.
type kind struct {
	name      string
	keepAlive bool
	request   []byte
	socket    func(*process) string
}

// measure sends requests from concurrent clients, and returns the rate and latencies.
func (k *kind) measure(p *process, requests int) (result, error) {
	took := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wait sync.WaitGroup
	start := time.Now()
	for i := range clients {
		wait.Go(func() { took[i], errs[i] = k.client(k.socket(p), requests/clients) })
	}
	wait.Wait()
	elapsed := time.Since(start)
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	if err := errors.Join(errs...); err != nil {
		return result{}, fmt.Errorf("%s: %w", k.name, err)
	}
	return result{
		float64(len(all)) / elapsed.Seconds(), all[len(all)/2], all[len(all)*99/100],
	}, nil
}

func (k *kind) client(path string, requests int) (took []time.Duration, err error) {
	took = make([]time.Duration, 0, requests)
	var c net.Conn
	response := bufio.NewReader(nil)
	for range requests {
		start := time.Now()
		if c == nil {
			if c, err = net.Dial("unix", path); err != nil {
				return nil, err
			}
			response.Reset(c)
		}
		if _, err = c.Write(k.request); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if err := readAllowed(response); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if !k.keepAlive {
			if err := c.Close(); err != nil {
				return nil, err
			}
			c = nil
		}
		took = append(took, time.Since(start))
	}
	if c != nil {
		err = c.Close()
	}
	return took, err
}

var (
	okStatus   = []byte("HTTP/1.1 200 ")
	lengthKey  = []byte("Content-Length: ")
	allowedTag = []byte(`"Allow":true`)
)

// readAllowed reads a response, and returns an error unless it allows the request.
func readAllowed(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, okStatus) {
		return fmt.Errorf("unexpected status %q", status)
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
		if digits, ok := bytes.CutPrefix(line, lengthKey); ok {
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
		return fmt.Errorf("unexpected response %q", body)
	}
	_, err = r.Discard(length)
	return err
}
