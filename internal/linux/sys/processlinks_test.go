package sys

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSharedResources compares threads that share descriptors but not working directories.
func TestSharedResources(t *testing.T) {
	own := os.Getpid()
	if !sharesFiles(own, own) || !sharesDirectories(own, own) {
		t.Skip("the kernel has no kcmp(2)")
	}
	err := OnOwnThread(func(*Thread) error {
		a := unix.Gettid()
		return OnOwnThread(func(*Thread) error {
			b := unix.Gettid()
			if !sharesFiles(a, b) || sharesDirectories(a, b) {
				t.Errorf("sharesFiles %v, sharesDirectories %v, want true, false",
					sharesFiles(a, b), sharesDirectories(a, b))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
