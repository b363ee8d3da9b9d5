package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// clientsScript runs the tests of test/clients, with the disk as /usr of their containers, and
// sends their verdicts.
const clientsScript = `mkdir /clients && mount -t ext4 -o ro %[1]s /clients
mkdir /tmp/verdicts
cd /tests/clients && PALISADE_USR=/clients PALISADE_ETC=/clients/share PALISADE_VERDICTS=/tmp/verdicts \
	./clients.test -test.v -test.run '%[2]s'
code=$?
for table in /tmp/verdicts/*; do
	echo "` + fileMark + `clients-${table##*/}"
	cat $table
	echo "` + endMark + `"
done
echo "` + resultMark + `clients $code"
`

// addClients compiles the tests of test/clients, and creates a disk with the clients' packages.
func (g *guest) addClients(ctx context.Context, disk, run string) error {
	if err := g.compile(ctx, "./test/clients"); err != nil {
		return err
	}
	python, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		return fmt.Errorf("%w (make deps installs it)", err)
	}
	java, err := filepath.EvalSymlinks("/etc/alternatives/java")
	if err != nil {
		return fmt.Errorf("%w (make deps installs it)", err)
	}
	owner, err := output(ctx, ".", "dpkg-query", "--search", java)
	if err != nil {
		return err
	}
	javaPackage, _, _ := strings.Cut(owner, ":")
	version := filepath.Base(python)
	args := []string{"test/vm/usr.sh", disk, "bsdutils", "htop", "hwloc-nox", "libgcc-s1", "libstdc++6",
		"ncurses-base", "nodejs", "numactl", "prometheus-node-exporter", "python3-minimal", "python3-psutil", "systemd", version + "-minimal",
		"lib" + version + "-minimal", "lib" + version + "-stdlib", "rsync", "sysstat", javaPackage}
	// java's configuration is behind links to /etc, which is /usr/share of the disk in containers.
	config, err := filepath.Glob("/etc/java-*")
	if err != nil {
		return err
	}
	add := "ADD=/etc/alternatives " + strings.Join(config, " ")
	if _, err := output(ctx, ".", "env", append([]string{add}, args...)...); err != nil {
		return err
	}
	fmt.Fprintf(&g.script, clientsScript, g.addDisk(disk), run)
	return nil
}
