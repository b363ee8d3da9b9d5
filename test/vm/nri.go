package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nriScript runs the tests of test/nri, with the disk as /usr.
const nriScript = `mount -t ext4 -o ro %s /usr
cd /tests/nri && PATH=/usr/sbin:/usr/bin:/bin PALISADE_ENGINES=/usr/share/engines \
	PALISADE_NRI=/usr/share/engines/palisade-nri ./nri.test -test.v -test.run '%s'
code=$?
cd / && umount /usr
echo "` + resultMark + `nri $code"
`

// addNRI compiles the tests of test/nri, and creates a disk with a /usr with the programs of "make
// cri" and palisade-nri. It uses engines, a new directory.
func (g *guest) addNRI(ctx context.Context, disk, engines, run string) error {
	if err := g.compile(ctx, "./test/nri"); err != nil {
		return err
	}
	cache, err := output(ctx, ".", "go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	built := filepath.Join(strings.TrimSpace(cache), "palisade-engines")
	for _, program := range []string{
		"containerd", "containerd-shim-runc-v2", "ctr", "crictl", "runtimes/runc",
	} {
		if err := copyFile(filepath.Join(built, program), filepath.Join(engines, program)); err != nil {
			return fmt.Errorf("%w (make cri builds it)", err)
		}
	}
	agent := filepath.Join(engines, "palisade-nri")
	if err := build(ctx, "build", "-trimpath", "-o", agent, "./cmd/palisade-nri"); err != nil {
		return err
	}
	if _, err := output(ctx, ".", "env", "ADD="+engines, "test/vm/usr.sh", disk, "libseccomp2"); err != nil {
		return err
	}
	// containerd copies these files for pods.
	etc := filepath.Join(g.root, "etc")
	err = errors.Join(os.RemoveAll(engines), os.MkdirAll(etc, 0o755),
		os.WriteFile(filepath.Join(etc, "hosts"), nil, 0o644),
		os.WriteFile(filepath.Join(etc, "resolv.conf"), nil, 0o644))
	if err != nil {
		return err
	}
	fmt.Fprintf(&g.script, nriScript, g.addDisk(disk), run)
	return nil
}
