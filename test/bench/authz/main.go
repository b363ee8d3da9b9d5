// Command authz measures authz-broker over its sockets: the rate and latency of decisions of both
// protocols, with one and with a thousand policies, and the memory after a million decisions.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	broker := flag.String("broker", "bin/authz-broker", "authz-broker")
	rounds := flag.Int("rounds", 5, "number of rounds, in turn; medians are printed")
	requests := flag.Int("requests", 25000, "number of requests in a round")
	total := flag.Int("total", 1000000, "number of requests before memory is measured")
	flag.Parse()
	if err := run(*broker, *rounds, *requests, *total); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// clients is the number of concurrent clients.
const clients = 4

func run(program string, rounds, requests, total int) (err error) {
	dir, err := os.MkdirTemp("", "palisade-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	plain, tls, err := dockerRequests(dir)
	if err != nil {
		return err
	}
	var brokers []*process
	for _, policies := range []int{1, 1000} {
		p, err := start(program, filepath.Join(dir, fmt.Sprint(policies)), policies)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		brokers = append(brokers, p)
	}
	kinds := []kind{
		{"docker, keep-alive", true, plain, func(p *process) string { return p.docker }},
		{"docker, keep-alive, certificate", true, tls, func(p *process) string { return p.docker }},
		{"isulad", false, isuladRequest, func(p *process) string { return p.isulad }},
	}
	done := 0
	fmt.Printf("%d clients, %d requests in a round, %d rounds in turn, medians\n", clients, requests,
		rounds)
	fmt.Printf("%-34s %14s %14s %8s %10s %10s\n", "", "1 policy /s", "1000 /s", "ratio", "p50", "p99")
	for _, k := range kinds {
		results := make([][]result, len(brokers))
		for range rounds {
			for i, p := range brokers {
				r, err := k.measure(p, requests)
				if err != nil {
					return err
				}
				results[i] = append(results[i], r)
			}
			done += requests
		}
		one, thousand := median(results[0]), median(results[1])
		fmt.Printf("%-34s %14.0f %14.0f %8.2f %10v %10v\n", k.name, one.rate, thousand.rate,
			thousand.rate/one.rate, one.p50.Round(time.Microsecond), one.p99.Round(time.Microsecond))
	}
	for done < total {
		if _, err := kinds[1].measure(brokers[0], requests); err != nil {
			return err
		}
		done += requests
	}
	memory, err := brokers[0].memory()
	fmt.Printf("memory after %d requests: %s\n", done, memory)
	return err
}

// process is a running broker.
type process struct {
	cmd            *exec.Cmd
	docker, isulad string
}

// start starts a broker with the given number of policies, the last of which has the requests'
// user.
func start(program, dir string, policies int) (*process, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	var text strings.Builder
	for i := range policies - 1 {
		fmt.Fprintf(&text, `{"name":"p%d","users":["user%d"],"actions":["container_%d","image"]}`+"\n",
			i, i, i)
	}
	text.WriteString(`{"name":"alice","users":["alice"],"actions":["container"]}` + "\n")
	file := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	p := &process{
		docker: filepath.Join(dir, "docker.sock"), isulad: filepath.Join(dir, "isulad.sock"),
	}
	p.cmd = exec.Command(program, "--policy-file", file, "--docker-socket", p.docker,
		"--isulad-socket", p.isulad, "--pid-file", filepath.Join(dir, "pid"),
		"--audit", filepath.Join(dir, "audit"))
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(p.isulad); err == nil {
			if _, err := os.Stat(p.docker); err == nil {
				return p, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(errors.New("timed out waiting for authz-broker"), p.stop())
		}
	}
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// memory returns the current and the maximum resident memory.
func (p *process) memory() (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	var lines []string
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if key == "VmRSS" || key == "VmHWM" {
			lines = append(lines, key+" "+strings.TrimSpace(value))
		}
	}
	return strings.Join(lines, ", "), err
}
