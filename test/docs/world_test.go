//go:build integration

package docs

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// layer is a directory with the files of all packages.
var layer string

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "docs", Setup: installPackages, Programs: []string{
		"systemctl", "runc", "crun", "dockerd", "podman", "lxc-start", "containerd", "ctr", "busybox",
		"unshare", "ip", "curl", "jq", "openssl", "ps", "apt-get",
	}}
	suite.Run(m)
}

func installPackages(_ context.Context, dir string) (cleanup func() error, err error) {
	layer = filepath.Join(dir, "layer")
	// The machines of the tests have no network: fetch the modules for the packages' source.
	const script = `go mod vendor -o "$1/vendor"; make --silent build man
for package in lxcfs lxcfs-toolkit tools lxc userns-shift authz-broker; do
	rpm/install.sh $package "$1/layer"
done`
	cmd := exec.Command("bash", "-ec", script, "bash", dir)
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install the packages' files: %w: %s", err, out)
	}
	return nil, nil
}

// execute executes blocks one after the other in a machine with the files of layer, under a systemd
// of its own, and compares what they print. It calls t.Fatal if a block fails.
func execute(t *testing.T, layer string, blocks ...block) {
	t.Helper()
	dir := t.TempDir()
	file := func(i int, ext string) string { return fmt.Sprintf("%s/%03d.%s", dir, i, ext) }
	for i, b := range blocks {
		if err := os.WriteFile(file(i, "sh"), []byte(b.script), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cgroups := engine.MakeCgroups(t, "palisade-docs")
	t.Cleanup(func() {
		for _, dir := range cgroups {
			engine.WaitFor(t, dir+" is removed", func() bool {
				engine.RemoveCgroups(dir)
				_, err := os.Stat(dir)
				return err != nil
			})
		}
	})
	args := []string{"--mount", "--ipc", "--uts", "--net", "--pid", "--fork", "--kill-child",
		"sh", "-c", engine.EnterCgroups, "sh"}
	args = append(append(args, cgroups...), "--", "bash", "testdata/boot.sh", dir, layer)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	output, err := exec.CommandContext(ctx, "unshare", args...).CombinedOutput()
	last := "boot"
	for i, b := range blocks {
		text, readErr := os.ReadFile(file(i, "out"))
		if readErr != nil {
			break // not reached
		}
		last, output = b.name, text
		if line := missing(string(text), b.want); line != "" {
			t.Errorf("%s: %q is not, or not in order, in the output:\n%s", b.name, line, text)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v:\n%s", last, err, output)
	}
}

// preparations are scripts for what a page needs beside the packages.
var preparations = map[string]string{
	"README.md":       "repository",
	"docs/install.md": "with_distribution_lxcfs; repository",
	"docs/lxcfs.md": "systemctl start lxcfs; bundle /home/web; " +
		"runc run --detach --bundle /home/web web",
	"docs/userns-shift.md": "with_open_isulad; root_fs /home/root-fs; bundle /home/bundle",
	"docs/engines/containerd.md": "rm -f /etc/containerd/config.toml; with_podman; " +
		"root_fs /home/root-fs /home/apart /home/both",
	"docs/engines/docker.md": "with_docker",
	"docs/engines/isulad.md": "with_isulad; root_fs /home/root-fs /home/apart",
	"docs/engines/lxc.md":    "with_lxc",
	"docs/engines/podman.md": "with_podman; root_fs /home/root-fs /home/apart /home/mapped",
	"docs/engines/runc.md":   "root_fs /home/web/rootfs; bundle /home/plain /home/apart /home/both",
}

// TestPages executes the blocks of each page in a machine of its own.
func TestPages(t *testing.T) {
	pages := readPages(t)
	for _, page := range slices.Sorted(maps.Keys(pages)) {
		blocks, err := parse(page, pages[page])
		if err != nil {
			t.Error(err)
		}
		if len(blocks) == 0 {
			continue
		}
		t.Run(strings.TrimSuffix(page, ".md"), func(t *testing.T) {
			files := layer
			if page == "README.md" || page == "docs/install.md" { // they install the packages
				files = t.TempDir()
			}
			prepare := block{"preparation of " + page, preparations[page], ""}
			execute(t, files, append([]block{prepare}, blocks...)...)
		})
	}
}

var (
	symptomRow = regexp.MustCompile(`(?m)^\| <!-- ([a-z-]+) --> .+? \| .+? \| (.+) \| (.+) \|$`)
	command    = regexp.MustCompile("`([^`]+)`[^`]*")
)

// TestSymptoms provokes each symptom of docs/operations.md by the function of its name in
// symptoms.sh, executes the commands of its row, and checks that they find the cause and remove it.
func TestSymptoms(t *testing.T) {
	text := readPages(t)["docs/operations.md"]
	var blocks []block
	for _, row := range symptomRow.FindAllStringSubmatch(text, -1) {
		check := command.ReplaceAllString(row[2], "$1\n")
		remedy := command.ReplaceAllString(row[3], "$1\n")
		script := "check() {\n%s}\nremedy() {\n%s}\nrun_symptom %s\n"
		blocks = append(blocks, block{row[1], fmt.Sprintf(script, check, remedy, row[1]), ""})
	}
	if rows := strings.Count(text, "\n| <!-- "); rows != len(blocks) || rows < 10 {
		t.Fatalf("%d of %d rows can be read", len(blocks), rows)
	}
	execute(t, layer, blocks...)
}

// TestIsuladTCPOnly checks that the commands find containers of an iSulad to which isula cannot
// connect without an address, by its files, and say so.
func TestIsuladTCPOnly(t *testing.T) {
	execute(t, layer, block{"a container without a unix socket", `with_isulad
root_fs /home/root-fs
systemctl start lxcfs
isula run -tid --name web --external-rootfs /home/root-fs none sleep 1000
echo '{"hook-spec":"/etc/default/isulad/hooks/default.json","hosts":["tcp://127.0.0.1:2375"]}' \
	>/etc/isulad/daemon.json
systemctl restart isulad
found() { # COMMAND...
	echo "$@"
	"$@" | grep -w web
}
found lxcfs-toolkit list
found lxcfs-toolkit remount --all
found lxcfs-toolkit remount --container-id web
found lxcfs-toolkit top --once
if isula exec web true; then exit 1; fi
ISULAD_HOST=tcp://127.0.0.1:2375 isula exec web grep -q lxcfs /proc/mounts

# A state file that cannot be read is named.
echo '{"Running":' >"$(echo /var/lib/isulad/engines/lcr/*)/container_state.json"
lxcfs-toolkit list
`, strings.Repeat("Can not connect...containers are read from /var/lib/isulad/engines\n", 4) +
		"Can not connect\ncontainer_state.json...unexpected end\n"})
}
