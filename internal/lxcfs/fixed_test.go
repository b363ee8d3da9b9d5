package lxcfs

import (
	"os"
	"testing"
)

// TestEveryFileHasTheHosts reads each file as a reader of the host: it gets the host's content, or
// the error of the host's file, such as that of pressure files if PSI is off.
func TestEveryFileHasTheHosts(t *testing.T) {
	f, _ := newMetered(t)
	for _, n := range nodes() {
		if n.isDir() || n.host == "" {
			continue
		}
		own, want := os.ReadFile("/proc/" + n.host)
		got, err := f.host.Raw(n.host, nil)
		switch {
		case want == nil && (err != nil || len(got) == 0 && len(own) > 0):
			t.Errorf("%s: %d bytes, %v; the host's file has %d", n.host, len(got), err, len(own))
		case want != nil && toErrno(err) != toErrno(want):
			t.Errorf("%s: %v, the host's file: %v", n.host, err, want)
		}
	}
}
