// Command lxcfs-metrics serves the counters of lxcfs to Prometheus. lxcfs starts it, without
// capabilities, if metrics are enabled, and passes it the listeners and the memory of the counters.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/metrics"
	"palisade/internal/cli/scrape"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
)

const name = "lxcfs-metrics"

func main() {
	os.Exit(cmdline.Report(name, run(), os.Stderr))
}

// errAlone is the error if a user starts the program.
var errAlone = cmdline.Usagef("only lxcfs starts this program; " +
	"ask for metrics by lxcfs --metrics ADDRESS, or --metrics-socket PATH")

// run serves until it is killed.
func run() error {
	files, err := sys.PassedFiles(true)
	if err != nil || len(os.Args) > 1 {
		return errAlone
	}
	counters, listeners, err := take(files)
	if err != nil {
		return err
	}
	// A terminal sends signals to all processes. The supervisor handles them.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := sys.NameProcess(name); err != nil { // it was executed by descriptor
		return err
	}
	if err := resetOOMScore(); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{counters}, scrape.BuildInfo("lxcfs"))
	server := scrape.New(registry, nil)
	runtime.GOMAXPROCS(1) // it also stops the runtime from reading cgroup files
	if err := sys.ConfineToServing(); err != nil {
		return err
	}
	failed := make(chan error)
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	return <-failed
}

func take(files []sys.NamedFile) (counters *meter.Meter, listeners []net.Listener, err error) {
	for _, f := range files {
		switch {
		case f.Name == meter.FileName:
			if counters, err = meter.OpenReadOnly(f.File); err != nil {
				return nil, nil, err
			}
		case strings.HasPrefix(f.Name, metrics.ListenerName):
			l, err := f.File.Listener(f.Name)
			if err != nil {
				return nil, nil, err
			}
			listeners = append(listeners, l)
		}
	}
	if counters == nil || len(listeners) == 0 {
		return nil, nil, errAlone
	}
	return counters, listeners, nil
}

// resetOOMScore removes the protection from the OOM killer that the process inherits from lxcfs.
func resetOOMScore() error {
	const file = "/proc/self/oom_score_adj"
	text, err := os.ReadFile(file)
	if err == nil && bytes.HasPrefix(text, []byte("-")) {
		err = os.WriteFile(file, []byte("0"), 0)
	}
	if err != nil {
		return fmt.Errorf("raise oom_score_adj: %w", err)
	}
	return nil
}
