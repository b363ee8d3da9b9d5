package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palisade/internal/cli/version"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

// files are those of a world, by their paths. A value that begins with "->" is a symbolic link,
// with "fifo" a FIFO, with "dir" a directory, with "open" a text that others may write; "none" is
// no file. Those in bin and sbin, and scripts, are programs.
type files map[string]string

const (
	v1Mounts = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:40 / /sys/fs/fuse/connections rw - fusectl fusectl rw
`
	v2Mounts = `31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
41 31 0:40 / /sys/fs/fuse/connections rw - fusectl fusectl rw
`
	hookSpec   = `{"prestart":[{"path":"/usr/bin/lxcfs-toolkit","args":["lxcfs-toolkit","hook"],"timeout":30}]}`
	hookJSON   = `{"version":"1.0.0","hook":{"path":"/usr/bin/lxcfs-toolkit","args":["lxcfs-toolkit","hook"]},"when":{"always":true},"stages":["createRuntime"]}`
	daemonJSON = `{"default-runtime":"lxcfs","runtimes":{"lxcfs":{"path":"/usr/bin/lxcfs-toolkit","runtimeArgs":["runtime","--runtime","runc","--"]}}}`
	configTOML = `version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "lxcfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.lxcfs.options]
  BinaryName = "/usr/bin/lxcfs-runc"
`
	goodPolicy = `{"name":"watchers","users":["bob"],"actions":["^container_list$","^docker_ping$"],"readonly":true}` + "\n"
)

// host are the files of a world in which nothing is wrong, and in which no engine is.
var host = files{
	"/proc/sys/kernel/osrelease":           "6.18.4\n",
	"/proc/sys/user/max_user_namespaces":   "15000\n",
	"/proc/filesystems":                    "nodev\tproc\n\text4\nnodev\tfuse\nnodev\tfusectl\n",
	"/proc/cgroups":                        "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t3\t9\t1\nblkio\t0\t1\t1\ncpuset\t0\t1\t0\n",
	"/proc/thread-self/mountinfo":          v1Mounts,
	"/proc/thread-self/ns/mnt":             "->mnt:[1]",
	"/proc/70/ns/mnt":                      "->mnt:[1]",
	"/proc/70/exe":                         "->/usr/bin/lxcfs",
	"/dev/fuse":                            "->/dev/null",
	"/usr/bin/lxcfs":                       "",
	"/usr/bin/lxcfs-toolkit":               "",
	"/usr/bin/lxcfs-runc":                  "->lxcfs-toolkit",
	"/usr/bin/userns-shift":                "",
	"/etc/systemd/system/unrelated.target": "",
}

// withSystemd are the files of a world with systemd.
var withSystemd = files{
	"/run/systemd/system":                                       "dir",
	"/usr/lib/systemd/system/lxcfs.service":                     "ExecStart=/usr/bin/lxcfs --keep-mount /var/lib/lxc/lxcfs\n",
	"/etc/systemd/system/multi-user.target.wants/lxcfs.service": "->/usr/lib/systemd/system/lxcfs.service",
}

// newWorld makes a world of files, later ones in place of earlier ones.
func newWorld(t testing.TB, sets ...files) *World {
	t.Helper()
	root, err := os.MkdirTemp("", "world") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	all := make(files)
	for _, set := range append([]files{host}, sets...) {
		for file, text := range set {
			all[file] = text
		}
	}
	for file, text := range all {
		if text == "none" {
			continue
		}
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := makeFile(path, text); err != nil {
			t.Fatal(err)
		}
	}
	server := &probe.Status{PID: 70, Worker: 71, Version: version.String()}
	return &World{
		Root: root, Owner: uint32(os.Getuid()), Mountpoint: "/var/lib/lxc/lxcfs", PolicyFile: "/var/lib/authz-broker/policy.json",
		kernel: func(string) error { return nil },
		Probe: func(context.Context, string) (probe.Result, error) {
			return probe.Result{State: probe.Healthy, PID: 70, Server: server, Files: []string{"proc/meminfo", "proc/stat"}}, nil
		},
		List:          func(context.Context) (toolkit.List, error) { return toolkit.List{}, nil },
		Ask:           answers("  --tlsverify\n"),
		DockerVersion: func(context.Context, string) (string, error) { return "", errors.New("no dockerd") },
	}
}

// answers returns a World.Ask for programs of this version with the text for --help.
func answers(help string) func(context.Context, string, string) (string, error) {
	return func(_ context.Context, _, option string) (string, error) {
		if option == "--help" {
			return help, nil
		}
		return version.String() + "\n", nil
	}
}

func makeFile(path, text string) error {
	mode := os.FileMode(0o644)
	switch {
	case strings.HasPrefix(text, "->"):
		return os.Symlink(text[2:], path)
	case text == "fifo":
		return syscall.Mkfifo(path, 0o644)
	case text == "dir":
		return os.MkdirAll(path, 0o755)
	case strings.HasPrefix(text, "open"):
		text, mode = text[4:], 0o666
	case strings.Contains(path, "bin/"), strings.HasPrefix(text, "#!"):
		mode = 0o755
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask is
}

// found are the findings that are not fine, each as "id subject".
func found(r *Report) (lines []string) {
	for _, f := range r.Findings {
		if f.Level != OK {
			lines = append(lines, string(f.ID)+" "+f.Subject)
		}
	}
	return lines
}
