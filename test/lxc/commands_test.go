//go:build integration

package lxc

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// TestCommands checks the toolkit's commands with names of LXC containers.
func TestCommands(t *testing.T) {
	h := newHost(t)
	h.start(t)
	one := h.newContainer(t, options{name: "palisade-lxc-one"})
	two := h.newContainer(t, options{name: "palisade-lxc-two"})
	h.toolkit(t, "umount", "-c", one.name)
	h.checkHost(t, one)
	h.checkVirtual(t, two)
	h.checkRows(t, one, two)
	h.toolkit(t, "remount", "-c", one.name)
	h.checkVirtual(t, one)
	if r := engine.Run(t, "", toolkit, "remount", "-c", "palisade-lxc-three"); r.Code == 0 {
		t.Errorf("remount of an unknown container: %+v", r)
	}
	h.toolkit(t, "umount", "--all")
	h.checkHost(t, one)
	h.checkHost(t, two)
	h.checkRows(t, one, two)
	h.toolkit(t, "remount", "--all")
	h.checkVirtual(t, one)
	h.checkVirtual(t, two)
	text := h.toolkit(t, "top", "--once", "--json")
	for _, c := range []*container{one, two} {
		if !strings.Contains(text, `"`+c.name+`"`) {
			t.Errorf("top does not show %s: %s", c.name, text)
		}
	}
	if !json.Valid([]byte(text)) {
		t.Errorf("top prints %s", text)
	}
}

// lastPID holds the pid after which the kernel searches for the next one.
const lastPID = "/proc/sys/kernel/ns_last_pid"

// TestListBesideShortProcesses checks that list finds a container in which short-lived processes
// have the lowest pids, as after a wrap-around of pids.
func TestListBesideShortProcesses(t *testing.T) {
	onlyHook(t, "lxc.hook.mount") // the toolkit has not seen it start
	h := newHost(t)
	h.start(t)
	c := h.newContainer(t, options{})
	c.inside(t, "sh", "-c", "while :; do (:); (:); done </dev/null >/dev/null 2>&1 &")
	low := []byte(strconv.Itoa(c.pid / 2))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for !ctr.IsClosed(stop) {
			if err := os.WriteFile(lastPID, low, 0o644); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	lists, lost := 0, 0
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); lists++ {
		rows := h.list(t)
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name() == c.name }) {
			lost++
		}
		if len(rows) > 1 {
			t.Errorf("got rows %+v, want one", rows)
		}
	}
	if lost > 0 || lists < 5 {
		t.Errorf("%d of %d lists lack the container", lost, lists)
	}
	for range 3 {
		h.toolkit(t, "umount", "--all")
		h.toolkit(t, "remount", "--all")
	}
	h.checkVirtual(t, c)
}
