package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"palisade/test/ctr"
)

// broker is a running authz-broker.
type broker struct {
	cmd    *exec.Cmd
	socket string
	client http.Client
}

// policies sends requests to brokers with different numbers of policies, of which the last is that
// of the user. The time of a start includes that of reading the policies.
func (b *bench) policies(ctx context.Context, p *part) (err error) {
	var brokers []*broker
	defer func() {
		for _, s := range brokers {
			err = errors.Join(err, s.stop())
		}
	}()
	for _, x := range p.xs {
		file := filepath.Join(b.dir, fmt.Sprintf("policies-%d", x))
		var text strings.Builder
		for i := range x - 1 {
			fmt.Fprintf(&text, `{"name":"p%[1]d","users":["u%[1]d"],"actions":["container_%[1]d"]}`+"\n", i)
		}
		text.WriteString(`{"name":"alice","users":["alice"],"actions":["container"]}` + "\n")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			return err
		}
	}
	for round := range p.rounds {
		for i, x := range p.xs {
			s, took, err := b.startBroker(ctx, x)
			if err != nil {
				return err
			}
			b.add(p, "start", x, took.Seconds()*1e6, 0)
			if round > 0 {
				if err := s.stop(); err != nil {
					return err
				}
				s = brokers[i]
			} else {
				brokers = append(brokers, s)
			}
			if err := s.measure(func(took time.Duration) {
				b.add(p, "a decision", x, took.Seconds()*1e6, 0)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// startBroker starts a broker with the given number of policies, and returns the time until it
// listens.
func (b *bench) startBroker(ctx context.Context, policies int) (
	s *broker, took time.Duration, err error,
) {
	dir, err := os.MkdirTemp(b.dir, "broker-")
	if err != nil {
		return nil, 0, err
	}
	s = &broker{socket: filepath.Join(dir, "docker.sock")}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}
	s.client.Transport = &http.Transport{DialContext: dial}
	s.cmd = exec.CommandContext(ctx, b.broker,
		"--policy-file", filepath.Join(b.dir, fmt.Sprintf("policies-%d", policies)),
		"--docker-socket", s.socket, "--isulad-socket", filepath.Join(dir, "isulad.sock"),
		"--pid-file", filepath.Join(dir, "pid"), "--audit", filepath.Join(dir, "audit"))
	log := new(ctr.LockedBuffer) // each start and stop is logged
	s.cmd.Stderr = log
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, 0, err
	}
	for deadline := start.Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if conn, err := net.Dial("unix", s.socket); err == nil {
			return s, time.Since(start), conn.Close()
		}
		if time.Now().After(deadline) {
			return nil, 0, errors.Join(fmt.Errorf("authz-broker does not listen: %s", log), s.stop())
		}
	}
}

func (s *broker) stop() error {
	s.client.CloseIdleConnections()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// measure calls add with the time of each of a few hundred requests.
func (s *broker) measure(add func(took time.Duration)) error {
	const body = `{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"GET",` +
		`"RequestUri":"/v1.41/containers/json?all=1&limit=5"}`
	for range 300 {
		start := time.Now()
		answer, err := s.client.Post("http://broker/AuthZPlugin.AuthZReq", "application/json",
			strings.NewReader(body))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte(`"Allow":true`)) {
			return fmt.Errorf("authz-broker answers %s: %s", answer.Status, text)
		}
		add(time.Since(start))
	}
	return nil
}
