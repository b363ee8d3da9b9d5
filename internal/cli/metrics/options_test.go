package metrics

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	set := func(string) bool { return true }
	for _, c := range []struct {
		address, socket string
		want            string // error, "" for none
	}{
		{"127.0.0.1:9436", "/run/x.sock", ""},
		{"0.0.0.0:9436", "/run/x.sock", ""},
		{"[::1]:9436", "/run/x.sock", ""},
		{"[fe80::1%eth0]:9436", "/run/x.sock", ""},
		{"192.0.2.1:65535", "/run/x.sock", ""},
		{
			":9436", "/run/x.sock",
			`--metrics ":9436" is not an IP address and port, such as 127.0.0.1:9436`,
		},
		{
			"localhost:9436", "/run/x.sock",
			`--metrics "localhost:9436" is not an IP address and port`,
		},
		{"*:9436", "/run/x.sock", `--metrics "*:9436" is not an IP`},
		{"9436", "/run/x.sock", `--metrics "9436" is not an IP`},
		{"127.0.0.1", "/run/x.sock", `--metrics "127.0.0.1" is not an IP`},
		{"127.0.0.1:", "/run/x.sock", `--metrics "127.0.0.1:" is not an IP`},
		{"127.0.0.1:0", "/run/x.sock", `--metrics "127.0.0.1:0" is not an IP`},
		{"127.0.0.1:65536", "/run/x.sock", `--metrics "127.0.0.1:65536" is not an IP`},
		{"127.0.0.1:http", "/run/x.sock", `--metrics "127.0.0.1:http" is not an IP`},
		{"127.1:9436", "/run/x.sock", `--metrics "127.1:9436" is not an IP`},
		{"::1:9436", "/run/x.sock", `--metrics "::1:9436" is not an IP`},
		{"", "/run/x.sock", `--metrics "" is not an IP`},
		{"127.0.0.1:9436", "x.sock", `--metrics-socket "x.sock" is not an absolute path`},
		{"127.0.0.1:9436", "", `--metrics-socket "" is not an absolute path`},
		{"127.0.0.1:9436", "@x", `--metrics-socket "@x" is not an absolute path`},
		{"127.0.0.1:9436", "/" + strings.Repeat("x", 107), "is longer than 107 bytes"},
	} {
		o := Options{c.address, c.socket}
		err := o.Validate(set)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", o, err, c.want)
		}
	}
	var none Options
	if err := none.Validate(func(string) bool { return false }); err != nil || none.Enabled() {
		t.Errorf("without options: %v, %v", err, none.Enabled())
	}
}

// listen returns listeners, which are closed at the end of the test, and the log.
func listen(t *testing.T, o Options) ([]net.Listener, string, error) {
	t.Helper()
	var log bytes.Buffer
	all, err := o.Listen(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() {
		for _, l := range all {
			l.Close()
		}
	})
	return all, log.String(), err
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestListen(t *testing.T) {
	address, path := freePort(t), filepath.Join(t.TempDir(), "metrics.sock")
	all, log, err := listen(t, Options{address, path})
	if err != nil || len(all) != 2 || log != "" {
		t.Fatalf("%d listeners, %v, %s", len(all), err, log)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	other := filepath.Join(t.TempDir(), "other.sock")
	_, _, err = listen(t, Options{"", path})
	if err == nil || !strings.Contains(err.Error(), "another process listens to "+path) {
		t.Errorf("a socket in use: %v", err)
	}
	_, _, err = listen(t, Options{address, other})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), address) {
		t.Errorf("an address in use: %v", err)
	}
	if _, err := os.Lstat(other); err == nil {
		t.Errorf("%s exists", other)
	}
	time.AfterFunc(bindTimeout/4, func() { all[0].Close(); all[1].Close() })
	if _, _, err := listen(t, Options{address, path}); err != nil {
		t.Errorf("an address that becomes free: %v", err)
	}
}

// TestUnspecified listens on 0.0.0.0, which must not include IPv6, and checks the warning.
func TestUnspecified(t *testing.T) {
	_, port, _ := net.SplitHostPort(freePort(t))
	_, log, err := listen(t, Options{Address: "0.0.0.0:" + port})
	if err != nil || !strings.Contains(log, "level=WARN") || !strings.Contains(log, "0.0.0.0:"+port) {
		t.Errorf("%v, %s", err, log)
	}
	if c, err := net.Dial("tcp6", "[::1]:"+port); err == nil {
		c.Close()
		t.Error("0.0.0.0 includes IPv6")
	}
}

// TestRetry serves at the third call: the error must be logged before and after the value in retry.
func TestRetry(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log bytes.Buffer
	retry := make(chan struct{}, 2)
	retry <- struct{}{}
	tries := 0
	Retry(ctx, slog.New(slog.NewTextHandler(&log, nil)), retry, func(context.Context) error {
		if tries++; tries < 3 {
			return syscall.EADDRNOTAVAIL
		}
		cancel()
		return nil
	})
	if n := strings.Count(log.String(), NotServed); tries != 3 || n != 2 {
		t.Errorf("%d tries, %d times logged: %s", tries, n, &log)
	}
}
