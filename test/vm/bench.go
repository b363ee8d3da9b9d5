package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// rivalPackages are lxcfs and the libraries that it loads.
var rivalPackages = []string{"lxcfs", "libfuse3-4", "libc6", "libgcc-s1"}

// rivalSource is the source of the packages for apt, which verifies its signature.
const rivalSource = "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n"

// rivalScript starts sid's lxcfs with the libraries of sid. It looks up liblxcfs.so in the path.
const rivalScript = `#!/bin/sh
libraries=/sid/usr/lib/x86_64-linux-gnu
exec $libraries/ld-linux-x86-64.so.2 --library-path $libraries:$libraries/lxcfs /sid/usr/bin/lxcfs "$@"
`

// benchScript runs bench, and sends its results. It leaves the root cgroup: lxcfs 7.0 shows swap
// only if its own cgroup has memory.swap.max.
const benchScript = `mkdir /sys/fs/cgroup/services && echo $$ >/sys/fs/cgroup/services/cgroup.procs
cd /tmp && bench -lxcfs /bin/lxcfs -rival /bin/lxcfs-sid,/usr/bin/lxcfs -json bench.json %[1]s >bench.md
code=$?
for file in bench.md bench.json; do
	echo "` + fileMark + `${file%%.*}-%[2]s.${file#*.}"
	cat $file
	echo "` + endMark + `"
done
echo "` + resultMark + `bench $code"
`

// addBench adds test/bench with its flags, and as its rivals the lxcfs of Debian sid, the newest
// version, and that of this machine.
func (g *guest) addBench(ctx context.Context, cache, flags string) error {
	debs, err := fetchRival(ctx, filepath.Join(cache, "sid"))
	if err != nil {
		return err
	}
	bin := filepath.Join(g.root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, deb := range debs {
		if _, err := output(ctx, ".", "dpkg", "-x", deb, filepath.Join(g.root, "sid")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "lxcfs-sid"), []byte(rivalScript), 0o755); err != nil {
		return err
	}
	const library = "/usr/lib/x86_64-linux-gnu/lxcfs/liblxcfs.so"
	for _, file := range []string{"/usr/bin/lxcfs", library} {
		if err := g.addFile(ctx, file, file); err != nil {
			return fmt.Errorf("add Debian's lxcfs: %w (make deps installs it)", err)
		}
	}
	if err := build(ctx, "build", "-o", filepath.Join(bin, "bench"), "./test/bench"); err != nil {
		return err
	}
	fmt.Fprintf(&g.script, benchScript, flags, g.mode)
	return nil
}

// fetchRival returns the packages of lxcfs in Debian sid. It downloads the newest ones unless cache
// has some: the archive drops old versions.
func fetchRival(ctx context.Context, cache string) ([]string, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	if debs, err := filepath.Glob(filepath.Join(cache, "*.deb")); err != nil || len(debs) > 0 {
		return debs, err
	}
	fresh := cache + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(fresh, "lists/partial"), 0o755); err != nil {
		return nil, err
	}
	sources := filepath.Join(fresh, "sources.list")
	if err := os.WriteFile(sources, []byte(rivalSource), 0o644); err != nil {
		return nil, err
	}
	// This machine's own sources and lists stay as they are.
	options := []string{
		"--option", "Dir::Etc::SourceList=" + sources, "--option", "Dir::Etc::SourceParts=-",
		"--option", "Dir::State::Lists=" + filepath.Join(fresh, "lists"),
		"--option", "Dir::Cache::PkgCache=", "--option", "Dir::Cache::SrcPkgCache=",
		"--option", "Acquire::Retries=3", "--option", "Acquire::Languages=none",
		"--option", "APT::Update::Error-Mode=any", "--option", "APT::Sandbox::User=root",
	}
	for _, command := range [][]string{{"update"}, append([]string{"download"}, rivalPackages...)} {
		if _, err := output(ctx, fresh, "apt-get", append(options, command...)...); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(filepath.Join(fresh, "lists")); err != nil {
		return nil, err
	}
	if err := os.Rename(fresh, cache); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(cache, "*.deb"))
}
