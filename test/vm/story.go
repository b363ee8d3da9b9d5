package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// story runs the end-to-end story, with what is on the disk as /usr, and sends its report.
const story = `mount -t ext4 -o ro %[2]s /usr
cd /tests/e2e && PATH=/usr/sbin:/usr/bin:/bin PALISADE_PACKAGES=/usr/share PALISADE_REPORT=/tmp/e2e-%[1]s.md ./e2e.test -test.v -test.run '^TestStory$'
code=$?
echo "` + fileMark + `e2e-%[1]s.md"
cat /tmp/e2e-%[1]s.md
echo "` + endMark + `"
echo "` + resultMark + `e2e $code"
`

// addStory compiles the story, and makes a disk with a /usr in which systemd, Docker and dpkg are, and the debs in packages.
func (g *guest) addStory(ctx context.Context, disk, packages string) error {
	if err := g.compile(ctx, "./test/e2e"); err != nil {
		return err
	}
	if _, err := output(ctx, ".", "env", "ADD="+filepath.Join(packages, "debs"), "test/vm/usr.sh", disk,
		"systemd", "docker.io", "containerd", "runc", "dpkg"); err != nil {
		return err
	}
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
	fmt.Fprintf(&g.script, story, g.mode, g.addDisk(disk))
	return nil
}
