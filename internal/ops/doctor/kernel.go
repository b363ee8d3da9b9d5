package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// oldest is the oldest release that is tested.
var oldest = [2]int{4, 19}

// features are the features that a kernel may lack, and the consequences.
var features = []struct {
	feature Feature
	id      ID
	// since is the first release with it.
	name, since, loss string
}{
	{FuseClone, KernelFuseClone, "clone of /dev/fuse", "4.2", "lxcfs cannot start"},
	{OpenTree, KernelOpenTree, "open_tree and move_mount", "5.2",
		"remount works only in containers with -v /var/lib/lxc:/var/lib/lxc:rslave; " +
			"the hook needs no such volume"},
	{Pidfd, KernelPidfd, "pidfd_open", "5.3",
		"lxcfs-toolkit upgrade does not work: restart lxcfs instead"},
	{Openat2, KernelOpenat2, "openat2", "5.6",
		"symbolic links in paths of containers are not followed"},
	{IDMappedMounts, KernelIDMap, "idmapped mounts on /var/lib", "5.12",
		"userns-shift mount does not work there: root file systems must be shifted on the disk"},
	{UserNamespaces, KernelUserns, "user namespaces", "3.8",
		"containers cannot have users of their own"},
}

func checkKernel(_ context.Context, w *World, r *Report) {
	release := w.release()
	r.version("kernel", release)
	if v, ok := parseRelease(release); ok && slices.Compare(v[:], oldest[:]) < 0 {
		r.add(KernelOld, "Linux "+release, advice("boot Linux %d.%d or later", oldest[0], oldest[1]),
			"it is older than Linux %d.%d, the oldest version that is tested", oldest[0], oldest[1])
	}
	off := w.checkUsernsLimit(r)
	for _, f := range features {
		if off && (f.feature == UserNamespaces || f.feature == IDMappedMounts) {
			continue // the limit is the reason, and is reported
		}
		if err := w.Kernel(f.feature); err != nil {
			r.add(f.id, "Linux "+release,
				advice("boot Linux %s or later, and permit it", f.since),
				"%s: %v: %s", f.name, err, f.loss)
		}
	}
	if len(r.Findings) == 0 {
		r.fine(KernelOK, "Linux "+release, "all required features are present")
	}
}

// release returns the release of the kernel (uname -r).
func (w *World) release() string {
	text, err := w.read("/proc/sys/kernel/osrelease", maxConfig)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

func parseRelease(release string) (v [2]int, ok bool) {
	n, err := fmt.Sscanf(release, "%d.%d", &v[0], &v[1])
	return v, err == nil && n == 2
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
		r.add(KernelUsernsMax, file, command("sysctl -w user.max_user_namespaces=15000"),
			"the limit of user namespaces is 0: containers cannot have users of their own")
	}
	return off
}
