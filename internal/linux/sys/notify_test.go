package sys

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNotificationWithFile drops a descriptor that comes with a notification: nothing would close
// it, and a client could exhaust the descriptors of this process.
func TestNotificationWithFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	received, err := ReceiveNotifications(path)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := StoreFiles("pipe", w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := <-received; n.PID != unix.Getpid() || !strings.Contains(n.Text, "FDNAME=pipe") {
		t.Errorf("got %+v", n)
	}
	fds := []unix.PollFd{{Fd: int32(r.Fd())}} // POLLHUP: all copies of w are closed
	if _, err := unix.Poll(fds, 0); err != nil || fds[0].Revents&unix.POLLHUP == 0 {
		t.Errorf("the pipe is still open: events %#x, %v", fds[0].Revents, err)
	}
}
