package doctor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
)

// oldest is the oldest release that is tested.
var oldest = [2]int{4, 19}

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
	var v [2]int
	_, err := fmt.Sscanf(release, "%d.%d", &v[0], &v[1])
	if err == nil && slices.Compare(v[:], oldest[:]) < 0 {
		r.warn("kernel-old", "Linux "+release,
			advice("boot Linux %d.%d or later", oldest[0], oldest[1]),
			"it is older than Linux %d.%d, the oldest version that is tested", oldest[0], oldest[1])
	}
	off := w.checkUsernsLimit(r)
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

// checkUsernsLimit checks the limit of user namespaces (namespaces(7)), and reports whether it is
// 0.
func (w *World) checkUsernsLimit(r *Report) (off bool) {
	const file = "/proc/sys/user/max_user_namespaces"
	text, err := w.read(file, maxConfig)
	if err != nil {
		return false // the kernel has no user namespaces, which checkKernel reports
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if off = err == nil && n == 0; off {
		r.warn("kernel-user-namespaces-off", file, command("sysctl -w user.max_user_namespaces=15000"),
			"the limit of user namespaces is 0: containers cannot have users of their own")
	}
	return off
}
