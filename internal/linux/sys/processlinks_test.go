package sys

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSharedResources compares threads that share descriptors but not working directories.
func TestSharedResources(t *testing.T) {
	own := os.Getpid()
	if !shares(own, own, kcmpFiles) || !shares(own, own, kcmpFS) {
		t.Skip("the kernel has no kcmp(2)")
	}
	err := OnOwnThread(func(*Thread) error {
		a := unix.Gettid()
		return OnOwnThread(func(*Thread) error {
			b := unix.Gettid()
			if !shares(a, b, kcmpFiles) || shares(a, b, kcmpFS) {
				t.Errorf("sharesFiles %v, sharesDirectories %v, want true, false",
					shares(a, b, kcmpFiles), shares(a, b, kcmpFS))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
