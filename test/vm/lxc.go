package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// lxcScript runs the tests of test/lxc, with the disk as /usr.
const lxcScript = `mount -t ext4 -o ro %s /usr
cd /tests/lxc && PATH=/usr/sbin:/usr/bin:/bin PALISADE_HOOKS=/tests/hooks ./lxc.test -test.v -test.run '%s'
code=$?
cd / && umount /usr
echo "` + resultMark + `lxc $code"
`

// addLXC compiles the tests of test/lxc, and creates a disk with a /usr with LXC, systemd and
// Debian's lxcfs.
func (g *guest) addLXC(ctx context.Context, disk, run string) error {
	if err := g.compile(ctx, "./test/lxc"); err != nil {
		return err
	}
	hooks := filepath.Join(g.root, "tests/hooks/lxc")
	if err := os.CopyFS(hooks, os.DirFS("hooks/lxc")); err != nil {
		return err
	}
	if _, err := output(ctx, ".", "env", "ADD=/usr/share/lxc", "test/vm/usr.sh", disk,
		"lxc", "liblxc1", "liblxc-common", "lxcfs", "uidmap", "runc", "systemd"); err != nil {
		return err
	}
	if err := g.addEtc(); err != nil {
		return err
	}
	fmt.Fprintf(&g.script, lxcScript, g.addDisk(disk), run)
	return nil
}
