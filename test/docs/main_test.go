//go:build integration

package docs

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"palisade/test/ctr"
)

// shared are the files of the packages, in a directory that stands for the root of a machine, and a root file system for containers.
var shared struct{ dir, layer, rootfs string }

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "docs", Setup: setUp, Programs: []string{
		"systemctl", "runc", "crun", "dockerd", "podman", "lxc-start", "containerd", "ctr", "busybox",
		"unshare", "ip", "curl", "jq", "openssl", "ps", "apt-get",
	}}
	suite.Run(m)
}

func setUp(_ context.Context, dir string) (cleanup func() error, err error) {
	shared.dir = dir
	shared.layer, shared.rootfs = filepath.Join(dir, "layer"), filepath.Join(dir, "rootfs")
	if err := installPackages(shared.layer); err != nil {
		return nil, err
	}
	return nil, newRootfs(shared.rootfs)
}

// installPackages builds the programs and puts the files of all packages below a root.
func installPackages(root string) error {
	// The worlds have no network: fetch the modules for the packages' source.
	const script = `vendor=$(mktemp -d); go mod vendor -o "$vendor/vendor"; rm -rf "$vendor"; make --silent build man; for package in lxcfs lxcfs-toolkit tools lxc userns-shift authz-broker; do rpm/install.sh $package "$1"; done`
	cmd := exec.Command("bash", "-ec", script, "bash", root)
	cmd.Dir = Repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install the packages' files: %w: %s", err, out)
	}
	return nil
}

// newRootfs makes a root file system of busybox, as an image has it.
func newRootfs(dir string) error {
	const script = `mkdir -p "$1"/{bin,dev,etc,home,proc,root,sbin,sys,tmp,usr/bin,var} && cp "$(command -v busybox)" "$1/bin/busybox"
for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"; done
ln -s ../bin/busybox "$1/sbin/init"
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >"$1/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$1/etc/group"
printf '::sysinit:/bin/true\n::respawn:/bin/sleep 1000\n' >"$1/etc/inittab"`
	if out, err := exec.Command("bash", "-ec", script, "bash", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("make a root file system: %w: %s", err, out)
	}
	return nil
}
