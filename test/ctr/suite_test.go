package ctr

import (
	"os"
	"strings"
	"testing"
)

// TestInventory checks that an inventory finds an open file and a goroutine.
func TestInventory(t *testing.T) {
	before, err := takeInventory()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go func() { <-stop }()
	now, err := takeInventory()
	if err != nil {
		t.Fatal(err)
	}
	left := added(before.files, now.files)
	if len(left) != 1 || !strings.HasSuffix(left[0], "/dev/null") || now.goroutines != before.goroutines+1 {
		t.Errorf("got %q, %d goroutines, want /dev/null, %d", left, now.goroutines, before.goroutines+1)
	}
	close(stop)
	f.Close()
	if err := before.check(); err != nil {
		t.Error(err)
	}
}
