package doctor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
)

// features are the features that a kernel may lack, and the consequences.
var features = []struct {
	// id is that of the finding.
	id    string
	level Level
	// since is the first release with it.
	name, since, loss string
	// probe tries it, without lasting effects.
	probe func() error
}{
	{"kernel-fuse-clone", Error, "clone of /dev/fuse", "4.2", "lxcfs cannot start",
		func() error { return sys.ProbeFuseClone(fuseDevice) }},
	{"kernel-open-tree", Warning, "open_tree and move_mount", "5.2",
		"remount works only in containers with -v /var/lib/lxc:/var/lib/lxc:rslave; " +
			"the hook needs no such volume",
		func() error { return idmount.Probe("/", idmap.Pair{}) }},
	{"kernel-pidfd", Info, "pidfd_open", "5.3",
		"lxcfs-toolkit upgrade does not work: restart lxcfs instead", probePidfd},
	{"kernel-openat2", Info, "openat2", "5.6",
		"symbolic links in paths of containers are not followed", sys.ProbeOpenat2},
	{"kernel-idmapped-mounts", Info, "idmapped mounts on /var/lib", "5.12",
		"userns-shift mount does not work there: root file systems must be shifted on the disk",
		probeIDMappedMounts},
	{"kernel-user-namespaces", Warning, "user namespaces", "3.8",
		"containers cannot have users of their own", probeUserNamespaces},
}

func probePidfd() error {
	self, err := sys.OpenPidfd(os.Getpid())
	self.Close()
	return err
}

func probeIDMappedMounts() error {
	ids := idmap.Map{{Container: 0, Host: 100000, Size: 65536}}
	return idmount.Probe("/var/lib", idmap.Pair{UID: ids, GID: ids})
}

func probeUserNamespaces() error {
	root := []syscall.SysProcIDMap{{Size: 1}}
	ns, err := sys.NewUserNamespace(root, root)
	ns.Close()
	return err
}

func checkKernel(_ context.Context, w *World, r *Report) {
	release := "unknown"
	if text, err := w.read("/proc/sys/kernel/osrelease", maxConfig); err == nil {
		release = strings.TrimSpace(string(text))
	}
	r.version("kernel", release)
	version := make([]int, 2)
	_, err := fmt.Sscanf(release, "%d.%d", &version[0], &version[1])
	if err == nil && slices.Compare(version, []int{4, 19}) < 0 {
		r.warn("kernel-old", "Linux "+release, advice("boot Linux 4.19 or later"),
			"it is older than Linux 4.19, the oldest version that is tested")
	}
	const limitFile = "/proc/sys/user/max_user_namespaces" // namespaces(7)
	limit, err := w.read(limitFile, maxConfig)
	off := err == nil && strings.TrimSpace(string(limit)) == "0"
	if off {
		r.warn("kernel-user-namespaces-off", limitFile,
			command("sysctl -w user.max_user_namespaces=15000"),
			"the limit of user namespaces is 0: containers cannot have users of their own")
	}
	for _, f := range features {
		if off && (f.id == "kernel-user-namespaces" || f.id == "kernel-idmapped-mounts") {
			continue // the limit is the reason, and is reported
		}
		probe := f.probe
		if w.kernel != nil {
			probe = func() error { return w.kernel(f.id) }
		}
		if err := probe(); err != nil {
			r.add(f.level, f.id, "Linux "+release,
				advice("boot Linux %s or later, and permit it", f.since),
				"%s: %v: %s", f.name, err, f.loss)
		}
	}
	if len(r.Findings) == 0 {
		r.fine("kernel-ok", "Linux "+release, "all required features are present")
	}
}
