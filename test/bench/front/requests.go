package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// latencies sends requests one after another on a connection, and returns their times in order of
// length.
func latencies(socket, path string, n int) ([]time.Duration, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: docker\r\n" +
		"User-Agent: Docker-Client/20.10.24\r\n\r\n")
	times := make([]time.Duration, n)
	for i := range times {
		started := time.Now()
		if _, err := c.Write(request); err != nil {
			return nil, err
		}
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return nil, err
		}
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("GET %s: %s", path, response.Status)
		}
		times[i] = time.Since(started)
	}
	slices.Sort(times)
	return times, nil
}

// rate returns the requests per second of all clients.
func rate(socket, path string, n int) (float64, error) {
	var all sync.WaitGroup
	errs := make([]error, clients)
	started := time.Now()
	for i := range clients {
		all.Go(func() { _, errs[i] = latencies(socket, path, n/clients) })
	}
	all.Wait()
	return float64(n) / time.Since(started).Seconds(), errors.Join(errs...)
}

// save reads the large image, and returns its size.
func save(socket string, w io.Writer) (int64, error) {
	response, err := client(socket).Get("http://engine/images/large/get")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, errors.New(response.Status)
	}
	return io.Copy(w, response.Body)
}

// saveTo saves the large image in a file.
func saveTo(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = save(engineSocket, file)
	return err
}

// load sends an image, and returns its size.
func load(socket, path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return 0, err
	}
	const url = "http://engine/images/load?quiet=1"
	response, err := client(socket).Post(url, "application/x-tar", file)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return stat.Size(), err
}
