//go:build integration

package clients

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestTimeViewSystemd starts this machine's systemd in a container with the view of time, and
// compares the times of boot that its programs show.
func TestTimeViewSystemd(t *testing.T) {
	w := newWorld(t)
	for _, dir := range []string{"var", "etc/systemd/system"} {
		if err := os.MkdirAll(filepath.Join(w.rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\nutmp:x:43:\n", "machine-id": "",
	} {
		if err := os.WriteFile(filepath.Join(w.rootfs, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The only unit that is wanted records the boot for who(1).
	target := "[Unit]\nRequires=sysinit.target systemd-update-utmp.service\nAfter=sysinit.target\nAllowIsolate=yes\n"
	unit := filepath.Join(w.rootfs, "etc/systemd/system/default.target")
	if err := os.WriteFile(unit, []byte(target), 0o644); err != nil {
		t.Fatal(err)
	}
	o := w.timeView(t)
	o.Rootfs, o.CgroupNamespace = w.rootfs, true
	o.Args = []string{"/usr/bin/env", "container=runc", "/lib/systemd/systemd"}
	o.Capabilities = []string{"CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_MKNOD", "CAP_DAC_READ_SEARCH"}
	o.Mounts = []specs.Mount{
		{Destination: "/usr", Type: "bind", Source: cmp.Or(os.Getenv("PALISADE_USR"), "/usr"), Options: []string{"rbind", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"rw"}},
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs"},
		{Destination: "/var", Type: "tmpfs", Source: "tmpfs"},
	}
	began := time.Now()
	c := w.start(t, o)
	defer func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	}()
	script := `export LC_ALL=C TZ=UTC; until [ -S /run/systemd/private ]; do sleep 0.1; done
systemctl is-system-running --wait
systemd-analyze
echo booted $(date -d "$(who -b | sed 's/.*boot *//')" +%s)
echo booted $(date -d "$(uptime -s)" +%s)
echo booted $(sed -n 's/^btime //p' /proc/stat)
echo booted $(date -d "$(ps -o lstart= -p 1)" +%s)
echo booted $(date -d "$(systemctl show --value --property ActiveEnterTimestamp sysinit.target)" +%s)`
	out, err := c.Exec(t.Context(), "timeout", "60", "/bin/sh", "-c", script)
	if err != nil {
		t.Fatalf("%v: %s", err, c.Log())
	}
	if !strings.Contains(out, "Startup finished in ") {
		t.Errorf("systemd-analyze does not show the start: %s", out)
	}
	var boots []float64
	for line := range strings.Lines(out) {
		boots = append(boots, numbers(line, `^booted (\d+)`)...)
	}
	if len(boots) != 5 {
		t.Fatalf("got %s", out)
	}
	// who shows minutes.
	for _, boot := range boots {
		if late := boot - float64(began.Unix()); late < -61 || late > 60 {
			t.Errorf("a boot %.0f seconds after the start: %s", late, out)
		}
	}
}
