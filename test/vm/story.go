package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// story runs the end-to-end tests, with the disk as /usr, and sends their reports.
const story = `mount -t ext4 -o ro %[2]s /usr
cd /tests/e2e && PATH=/usr/sbin:/usr/bin:/bin PALISADE_PACKAGES=/usr/share PALISADE_REPORT=/tmp ./e2e.test -test.v -test.run '^Test(Story|Swap)$'
code=$?
for story in e2e swap; do
	echo "` + fileMark + `$story-%[1]s.md"
	cat /tmp/$story-%[1]s.md
	echo "` + endMark + `"
done
echo "` + resultMark + `e2e $code"
`

// addStory compiles the end-to-end tests, and creates a disk with a /usr with systemd, Docker, LXC,
// dpkg and the debs in packages.
func (g *guest) addStory(ctx context.Context, disk, packages string) error {
	if err := g.compile(ctx, "./test/e2e"); err != nil {
		return err
	}
	if _, err := output(ctx, ".", "env", "ADD="+filepath.Join(packages, "debs")+" /usr/share/lxc", "test/vm/usr.sh", disk,
		"systemd", "docker.io", "containerd", "runc", "dpkg", "lxc", "liblxc1", "liblxc-common", "lxcfs", "init-system-helpers", "perl-base"); err != nil {
		return err
	}
	if err := g.addEtc(); err != nil {
		return err
	}
	fmt.Fprintf(&g.script, story, g.mode, g.addDisk(disk))
	return nil
}

// addEtc adds the files in /etc about users and the distribution.
func (g *guest) addEtc() error {
	for _, name := range []string{"/etc/passwd", "/etc/group", "/etc/os-release"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file := filepath.Join(g.root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
