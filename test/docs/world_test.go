//go:build integration

package docs

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// layer is a directory with the files of all packages, and a root file system in rootfs.
var layer string

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "docs", Setup: setUp, Programs: []string{"systemctl", "runc", "crun",
		"dockerd", "podman", "lxc-start", "containerd", "ctr", "busybox", "curl", "jq", "openssl"}}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	layer = filepath.Join(dir, "layer")
	// The machines have no network: fetch the modules for the packages' source.
	const script = `go mod vendor -o "$1/vendor"; make --silent build man
for package in lxcfs lxcfs-toolkit tools lxc nri userns-shift authz-broker; do
	rpm/install.sh $package "$1/layer"
done
go build -o "$1/layer/usr/libexec/isulad-grpc" ./test/docs/isulad`
	cmd := exec.Command("bash", "-ec", script, "bash", dir)
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install the packages' files: %w: %s", err, out)
	}
	return nil, ctr.NewInitRootfs(ctx, filepath.Join(layer, "rootfs"), "::respawn:/bin/sleep 1000\n")
}

// nextBlock separates the outputs of blocks.
const nextBlock = "palisade-docs: the next block"

// TestPages executes the blocks of each page in a shell in a machine of its own, and compares what
// they print.
func TestPages(t *testing.T) {
	pages := parsePages(t)
	for _, page := range slices.Sorted(maps.Keys(pages)) {
		if len(pages[page]) > 0 {
			t.Run(strings.TrimSuffix(page, ".md"), func(t *testing.T) { execute(t, page, pages[page]) })
		}
	}
}

func execute(t *testing.T, page string, blocks []block) {
	files := layer
	if page == "README.md" || page == "docs/install.md" { // they install the packages
		files = t.TempDir()
	}
	m := engine.NewMachine(t, "testdata/root.sh", files)
	m.MountCgroups += "[ ! -e unified ] || umount unified\n" // crun refuses both versions
	if err := m.Boot("systemd-journald.service"); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, b := range blocks {
		fmt.Fprintf(&script, "echo '%s'\n%s\n", nextBlock, b.script)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	// Containers need a cgroup that systemd leaves alone.
	session := m.Command(ctx, "systemd-run", "--scope", "--quiet", "--unit=session",
		"--property=Delegate=yes", "bash", "/session.sh")
	session.Stdin = strings.NewReader(script.String())
	output, err := session.CombinedOutput()
	outputs := strings.Split(string(output), nextBlock+"\n")
	last := "start of the shell"
	for i, text := range outputs[1:] {
		last = blocks[i].name
		if line := missing(text, blocks[i].want); line != "" {
			t.Errorf("%s: %q is not, or not in order, in the output:\n%s", last, line, text)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v:\n%s", last, err, outputs[len(outputs)-1])
	}
}
