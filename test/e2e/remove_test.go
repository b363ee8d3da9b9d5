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

// others lists files of the engine, the operator, systemd and dpkg.
var others = []string{
	"/srv", "/opt", "/var/tmp", "/var/lib/docker", "/var/lib/containerd", "/var/lib/dpkg", "/var/lib/systemd", "/var/log/journal", "/var/log/dpkg.log",
	"/var/lib/private", "/var/log/private", "/var/cache/private", "/etc/cni", "/etc/docker", "/etc/default", "/etc/systemd/system/docker.service.d",
	"/etc/systemd/system/lxcfs.service.d", "/etc/systemd/system/authz-broker.service.d", "/etc/systemd/system/multi-user.target.wants", "/run/docker", "/run/docker.pid", "/run/docker.sock", "/run/containerd", "/run/systemd", "/run/log",
	"/run/user", "/run/runc", "/run/mount",
	"/etc/.pwd.lock", "/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-",
}

// tree returns the files in the root, except others and the directories of this machine's /usr.
func (s *story) tree() map[string]bool {
	all := make(map[string]bool)
	for from, name := range map[string]string{
		s.Root + "/upper": "/usr", s.Root + "/etc": "/etc", s.Root + "/var": "/var", s.Root + "/opt": "/opt", s.Path("/run"): "/run",
	} {
		filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
			path = name + strings.TrimPrefix(path, from)
			for _, other := range others {
				if path == other || strings.HasPrefix(path, other+"/") {
					return fs.SkipDir
				}
			}
			if err != nil {
				return nil // may have been removed
			}
			if strings.HasPrefix(path, "/run/userns-shift-roots/") && strings.HasSuffix(path, "/rootfs") {
				all[path] = true
				return fs.SkipDir // a container's files
			}
			if info, err := entry.Info(); err == nil && info.Mode().Type() == fs.ModeDevice|fs.ModeCharDevice {
				return nil // an overlay whiteout
			}
			if lower, err := os.Lstat(path); name != "/usr" || err != nil || !lower.IsDir() {
				all[path] = true
			}
			return nil
		})
	}
	return all
}

// added returns the files that the root did not have before the first installation.
func (s *story) added() (paths []string) {
	for path := range s.tree() {
		if !s.before[path] {
			paths = append(paths, path)
		}
	}
	sort.Strings(paths)
	return paths
}

// remove removes the packages under running containers, after removing them from dockerd's
// configuration.
func (s *story) remove() {
	s.file("/etc/docker/daemon.json", daemonWithout)
	s.do("systemctl", "reload", "docker")
	s.removePackages()
}

// removePackages removes the packages, and checks that containers have the host's files and that
// only the files in kept remain.
func (s *story) removePackages() {
	s.do(append(slices.Clone(s.remover), packages...)...)
	s.hostFiles()
	s.check(!strings.Contains(s.ReadFile("/proc/1/mountinfo"), "lxc"), "lxcfs is not mounted on the host")
	for _, unit := range append(slices.Clone(services), frontUnit) {
		out, _ := s.Exec("systemctl", "show", "--property", "LoadState,ActiveState,UnitFileState", unit)
		s.check(strings.Contains(out, "LoadState=not-found") && strings.Contains(out, "ActiveState=inactive"), "%s is gone", unit)
	}
	var want []string
	for _, name := range s.kept {
		for path := name; path != "/"; path = filepath.Dir(path) {
			want = append(want, path)
		}
	}
	for _, path := range s.added() {
		s.check(strings.HasPrefix(path, "/var/log/authz-") || slices.Contains(want, path), "%s is kept", path)
	}
}

// purge purges the packages, and checks that no file remains.
func (s *story) purge() {
	s.do(append([]string{"dpkg", "-P"}, packages...)...)
	left := s.added()
	s.check(len(left) == 0, "no files of the packages remain: %q", left)
}
