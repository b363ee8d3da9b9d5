//go:build integration

package e2e

import (
	"fmt"
	"regexp"
	"strings"

	"palisade/test/ctr"
)

const (
	// callsBundle is the bundle of a container that makes system calls.
	callsBundle = "/srv/calls"
	// callsResults has a line of each of its programs, with the numbers of calls and wrong results.
	callsResults = callsBundle + "/rootfs/results"
)

// runCalls starts a container with the views of system calls.
func (s *story) runCalls() {
	s.addRootfs(callsBundle)
	o := ctr.Options{Rootfs: callsBundle + "/rootfs", Memory: memoryLimit, Quota: 100000, Args: []string{"/bin/sh", "-c",
		fmt.Sprintf("while :; do load callers 1 2 %d 1 %s >>/results 2>&1; done", memoryLimit, pause())}}
	if err := o.WriteConfig(s.Path(callsBundle), "calls"); err != nil {
		s.Fatal(err)
	}
	s.runDetached("lxcfs-toolkit runtime --strict --views sysinfo,affinity -- run --detach --bundle "+callsBundle+" calls",
		"/srv/calls.log")
	s.hasCalls = true
	s.callsContinue()
}

var rightCalls = regexp.MustCompile(`^calls \d+ wrong 0 <nil>$`)

// callsContinue waits until a program that began after this has made its calls, and checks that no
// call had a wrong result. Before runCalls and after endCalls it does nothing.
func (s *story) callsContinue() {
	s.Helper()
	if !s.hasCalls {
		return
	}
	before := strings.Count(s.ReadFile(callsResults), "\n")
	s.waitFor("the container with views continues to make system calls", func() bool {
		return strings.Count(s.ReadFile(callsResults), "\n") > before+1
	})
	for line := range strings.Lines(s.ReadFile(callsResults)) {
		if line = strings.TrimSuffix(line, "\n"); !rightCalls.MatchString(line) {
			s.check(false, "calls have wrong results: %s", line)
			s.FailNow()
		}
	}
}

// endCalls removes the container.
func (s *story) endCalls() {
	s.callsContinue()
	s.do("runc", "delete", "--force", "calls")
	s.hasCalls = false
}
