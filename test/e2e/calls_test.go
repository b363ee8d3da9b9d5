//go:build integration

package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"palisade/test/ctr"
)

// callsBundle is the bundle of a container that makes system calls, and callsResults has a line with
// the number of calls and of wrong results for each of its programs.
const (
	callsBundle  = "/srv/calls"
	callsResults = callsBundle + "/rootfs/results"
)

// runCalls starts a container with the views of system calls.
func (s *story) runCalls() {
	rootfs := s.Path(callsBundle) + "/rootfs"
	if out, err := exec.Command("mkdir", "-p", rootfs).CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("cp", "-a", shared.rootfs+"/.", rootfs).CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	o := ctr.Options{Rootfs: callsBundle + "/rootfs", Memory: memoryLimit, Quota: 100000, Args: []string{"/bin/sh", "-c",
		fmt.Sprintf("while :; do load callers 1 2 %d 1 %s >>/results 2>&1; done", memoryLimit, pause())}}
	if err := o.WriteConfig(s.Path(callsBundle), "calls"); err != nil {
		s.Fatal(err)
	}
	// The container must not inherit our pipe.
	s.do("sh", "-c", "lxcfs-toolkit runtime --strict --views sysinfo,affinity -- run --detach --bundle "+callsBundle+
		" calls </dev/null >/srv/calls.log 2>&1 || { cat /srv/calls.log; exit 1; }")
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
