package shift

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/sys"
	"palisade/internal/userns/idmount"
)

// system are directories that are no root file system of a container.
var system = []string{
	"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/media", "/mnt", "/opt", "/proc", "/root",
	"/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/share", "/var", "/var/lib", "/var/log",
	"/var/run", "/var/tmp",
}

// checkPlace finds what stands in the way whatever is in the tree. The tree has a view.
func (t *tree) checkPlace(o *Options) (p Problems, err error) {
	if what := t.systemDir(); what != "" {
		p.add("choose the root file system of a container", "%s is %s", t.path, what)
		return p, nil // nothing else matters
	}
	switch options := "," + t.mount.VFSOptions + ","; {
	case t.fsType == sys.ProcMagic || t.fsType == sys.SysfsMagic || t.fsType == sys.CgroupMagic || t.fsType == sys.Cgroup2Magic:
		p.add("choose the root file system of a container", "%s is on %s, which has no files", t.path, t.mount.FSType)
	case strings.Contains(options, ",ro,"):
		p.add("mount -o remount,rw", "the file system of %s is read-only", t.path)
	case t.view.IsReadOnly():
		p.add("mount -o remount,bind,rw, or btrfs property set DIR ro false", "%s is read-only", t.path)
	case t.mount.FSType == "overlay" && !o.AllowCopyUp:
		p.add("shift its lower directories before, or --allow-copyup", "%s is an overlay: each file would be copied to its upper layer", t.path)
	}
	if hasOption(t.mount.Options, "idmapped") {
		p.add("shift it where it is not idmapped", "%s is seen through an idmapped mount", t.path)
	}
	if t.inode.Immutable || t.inode.AppendOnly {
		p.add("chattr -i -a", "%s itself is immutable or append-only", t.path)
	}
	if err := t.checkOverlays(&p); err != nil {
		return nil, err
	}
	if !o.Force {
		t.checkProcesses(&p)
	}
	return p, nil
}

func hasOption(options, name string) bool { return slices.Contains(strings.Split(options, ","), name) }

// systemDir tells what the tree is, if it is no root file system of a container.
func (t *tree) systemDir() string {
	if slices.Contains(system, t.path) {
		return "a directory of the system"
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.Clean(home) == t.path {
		return "the home directory"
	}
	if own, err := sys.Stat("/"); err == nil && own.Inode == t.inode.Number && own.FileSystem == t.inode.FileSystem {
		return "this system's root directory"
	}
	return ""
}

// checkPrivileges makes sure that this process is root of the whole host: in a user namespace, owners are not what they are,
// and trusted attributes not to be seen.
func checkPrivileges() (p Problems, err error) {
	missing, err := sys.MissingCapabilities()
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		p.add("run it as root", "missing capabilities: %s", strings.Join(missing, ", "))
	}
	text, err := sys.ReadFile("/proc/self/uid_map", nil)
	if err != nil {
		return nil, err
	}
	if fields := strings.Fields(string(text)); !slices.Equal(fields, []string{"0", "0", "4294967295"}) {
		p.add("run it on the host", "this process is in a user namespace")
	}
	return p, nil
}

// checkOverlays finds overlays of which the tree is a layer, or a part of one: their behaviour is undefined when it changes.
func (t *tree) checkOverlays(p *Problems) error {
	overlays, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	for _, m := range overlays {
		for _, layer := range idmount.OverlayLayers(m) {
			if layer == t.path || strings.HasPrefix(layer, t.path+"/") || strings.HasPrefix(t.path, layer+"/") {
				p.add("unmount it", "%s is, or has, a layer of the overlay on %s", t.path, m.Mountpoint)
				break
			}
		}
	}
	return nil
}

// checkProcesses finds processes that have the tree as their root directory. Errors are those of processes that end.
func (t *tree) checkProcesses(p *Problems) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		p.add("mount a procfs on /proc", "who uses the tree cannot be found out: %v", err)
		return
	}
	var pids []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		root, err := sys.Stat("/proc/" + e.Name() + "/root")
		if err == nil && root.Inode == t.inode.Number && root.FileSystem == t.inode.FileSystem {
			pids = append(pids, e.Name())
		}
	}
	if len(pids) > 0 {
		more := ""
		if len(pids) > shown {
			more = fmt.Sprintf(" and %d more", len(pids)-shown)
		}
		p.add("stop the container, or --force", "%s is the root of processes: %s%s", t.path, strings.Join(pids[:min(len(pids), shown)], ", "), more)
	}
}

// errInterrupted is the error of a pass that was told to stop.
var errInterrupted = errors.New("it was interrupted")
