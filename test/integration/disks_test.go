//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/ctr"
)

// readDirectly reads from the container's root disk, so that its cgroup counts I/O on it. On v1 new
// kernels count nothing without a limit (see TestDisks).
func readDirectly(t *testing.T, c *ctr.Container, disk string) {
	t.Helper()
	if !ctr.OnV2() {
		dir, err := c.Cgroup("blkio")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "blkio.throttle.read_bps_device"), disk+" 1099511627776")
	}
	inside(t, c, "/usr/bin/dd", "if=/usr/bin/node", "of=/dev/null", "bs=1M", "count=1", "iflag=direct")
}

// TestRootDiskName checks that programs that look up disks in /sys/block, which has the host's
// names, find the root disk with --root-disk-name host.
func TestRootDiskName(t *testing.T) {
	sar, err := filepath.EvalSymlinks("/usr/bin/sar") // a link of Debian's alternatives to /etc
	if err != nil {
		t.Fatal(err)
	}
	const psutil = `import psutil; print(psutil.disk_io_counters() is not None)`
	for _, name := range []string{"sda", "host"} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t, t.TempDir(), "--root-disk-name", name)
			c := start(t, withPrograms(t, ctr.Options{Lxcfs: d.Mountpoint}))
			waitForDisks(t, c)
			fields := strings.Fields(inside(t, c, "cat", "/proc/diskstats"))
			if len(fields) < 14 {
				t.Fatalf("diskstats has no disk: %q", fields)
			}
			disk := fields[2]
			if !strings.HasSuffix(inside(t, c, "cat", "/proc/partitions"), " "+disk+"\n") {
				t.Errorf("partitions has no disk %s", disk)
			}
			_, err := os.Stat("/sys/block/" + disk)
			if isHosts := err == nil; name == "sda" && disk != "sda" || name == "host" && !isHosts {
				t.Fatalf("got disk %s", disk)
			} else if !isHosts {
				return // none of the programs finds it
			}
			readDirectly(t, c, fields[0]+":"+fields[1]) // sar omits unused disks
			for program, shown := range map[string]string{
				"/usr/bin/python3 -c '" + psutil + "'": "True\n", "/usr/bin/vmstat -d": "\n" + disk + " ",
				sar + " -d 1 1": " " + disk + " ",
			} {
				if out := inside(t, c, "sh", "-c", program); !strings.Contains(out, shown) {
					t.Errorf("%s does not show %s: %q", program, disk, out)
				}
			}
		})
	}
}
