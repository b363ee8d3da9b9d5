//go:build integration

package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// others are directories of the engine and the operator, and what systemd and dpkg keep.
var others = []string{
	"/srv", "/opt", "/var/tmp", "/var/lib/docker", "/var/lib/containerd", "/var/lib/dpkg", "/var/lib/systemd", "/var/log/journal", "/var/log/dpkg.log",
	"/var/lib/private", "/var/log/private", "/var/cache/private", "/etc/cni", "/etc/docker", "/etc/default", "/etc/systemd/system/docker.service.d",
	"/etc/systemd/system/lxcfs.service.d", "/etc/systemd/system/authz-broker.service.d", "/etc/systemd/system/multi-user.target.wants", "/run/docker", "/run/docker.pid", "/run/docker.sock", "/run/containerd", "/run/systemd", "/run/log",
	"/run/user", "/run/runc", "/run/mount",
}

// tree is all that lies in the root, without what is of this machine's /usr, and of others.
func (s *story) tree() map[string]bool {
	all := make(map[string]bool)
	for from, name := range map[string]string{
		s.root + "/upper": "/usr", s.root + "/etc": "/etc", s.root + "/var": "/var", s.root + "/opt": "/opt", s.path("/run"): "/run",
	} {
		filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
			path = name + strings.TrimPrefix(path, from)
			for _, other := range others {
				if path == other || strings.HasPrefix(path, other+"/") {
					return fs.SkipDir
				}
			}
			if err != nil {
				return nil // it comes and goes
			}
			if strings.HasPrefix(path, "/run/userns-shift-roots/") && strings.HasSuffix(path, "/rootfs") {
				all[path] = true
				return fs.SkipDir // what is in a container
			}
			if info, err := entry.Info(); err == nil && info.Mode().Type() == fs.ModeDevice|fs.ModeCharDevice {
				return nil // something of this machine's was taken away
			}
			if lower, err := os.Lstat(strings.Replace(path, "/usr", s.usr, 1)); name != "/usr" || err != nil || !lower.IsDir() {
				all[path] = true
			}
			return nil
		})
	}
	return all
}

// added are files that were not there before.
func (s *story) added() (paths []string) {
	for path := range s.tree() {
		if !s.before[path] {
			paths = append(paths, path)
		}
	}
	sort.Strings(paths)
	return paths
}

// remove takes the packages away under containers, after the operator has taken them out of dockerd's configuration.
func (s *story) remove() {
	s.file("/etc/docker/daemon.json", daemonWithout)
	s.do("systemctl", "reload", "docker")
	s.removePackages()
}

// removePackages takes them away, and makes sure that containers have the host's files and that only the files that must be kept are left.
func (s *story) removePackages() {
	s.do(append(slices.Clone(s.remover), packages...)...)
	s.hostFiles()
	s.see(!strings.Contains(s.read("/proc/1/mountinfo"), "lxc"), "nothing of it is mounted on the host")
	for _, unit := range services {
		out, _ := s.run("systemctl", "show", "--property", "LoadState,ActiveState,UnitFileState", unit)
		s.see(strings.Contains(out, "LoadState=not-found") && strings.Contains(out, "ActiveState=inactive"), "%s is gone", unit)
	}
	var want []string
	for _, name := range s.kept {
		for path := name; path != "/"; path = filepath.Dir(path) {
			want = append(want, path)
		}
	}
	for _, path := range s.added() {
		s.see(strings.HasPrefix(path, "/var/log/authz-broker") || slices.Contains(want, path), "left is %s", path)
	}
}

// purge takes the rest away.
func (s *story) purge() {
	s.do(append([]string{"dpkg", "-P"}, packages...)...)
	left := s.added()
	s.see(len(left) == 0, "nothing is left of the packages: %q", left)
}
