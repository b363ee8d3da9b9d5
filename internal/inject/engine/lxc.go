package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// Init is the init of a pid namespace directly below the host's.
type Init struct {
	PID int
	// Creator is the user who created the namespace.
	Creator uint32
	// Inspect returns its /proc/<pid>/cgroup as seen in its own cgroup namespace, or nil if that is
	// the host's. The argument is its directory in /proc. Inspect fails if the pid belongs to
	// another process now.
	Inspect func(process sys.File) (cgroups []byte, err error)
}

// findLXC lists the containers of liblxc, which LXC, Incus, LXD and Proxmox VE use, by the cgroups
// that liblxc creates. It ignores cgroups below the root of a container's cgroup namespace, whose
// names the container chooses. Containers of root come first, since any user can have thousands. If
// ctx ends, it returns the containers found so far with an error.
func (o *Options) findLXC(ctx context.Context) ([]finding, error) {
	var found []finding
	var errs []error
	inits := slices.SortedFunc(slices.Values(o.Inits), func(a, b Init) int {
		return cmp.Or(cmp.Compare(min(a.Creator, 1), min(b.Creator, 1)), cmp.Compare(a.PID, b.PID))
	})
	for i, init := range inits {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("inspect %d more processes: %w", len(inits)-i, err))
			break
		}
		f, err := o.lxcContainer(init)
		if err == nil && f.ID != "" {
			found = append(found, f)
		}
		if err != nil && isAlive(o.Proc, &f) {
			errs = append(errs, fmt.Errorf("process %d: %w", init.PID, err))
		}
	}
	return found, errors.Join(errs...)
}

// lxcContainer returns the container of an init, with an empty ID if it is not one of liblxc. On an
// error only the PID is set.
func (o *Options) lxcContainer(init Init) (finding, error) {
	f := finding{Container: Container{PID: init.PID}, byCgroup: true}
	process, err := sys.OpenDir(filepath.Join(o.Proc, strconv.Itoa(init.PID)))
	if err != nil {
		return f, err
	}
	defer process.Close()
	f.started, _ = startOf(o.Proc, init.PID)
	cgroups, err := process.ReadFileAt("cgroup", nil)
	if name, _ := parsePayload(cgroups, nil); err != nil || name == "" {
		return f, err
	}
	inside, err := init.Inspect(process)
	if err != nil {
		return f, err
	}
	name, isProxmox := parsePayload(cgroups, inside)
	if name == "" {
		return f, nil
	}
	creator := init.Creator
	monitor := o.commandOfParent(process, creator)
	if !slices.Contains(monitor, name) && slices.Contains(monitor, withoutNumber(name)) {
		name = withoutNumber(name)
	}
	f.ID, f.Names, f.Engine, f.Creator = name, []string{name}, "lxc", creator
	if creator != 0 {
		f.ID = fmt.Sprintf("%d/%s", creator, name)
	}
	if isProxmox {
		f.Engine = "proxmox"
	} else if engine := monitorEngine(monitor); engine != "" {
		f.Engine = engine
	}
	return f, nil
}

// IsLXC reports whether liblxc started the container, for any engine.
func (c *Container) IsLXC() bool {
	return slices.Contains([]string{"lxc", "incus", "lxd", "proxmox"}, c.Engine)
}

// parsePayload returns the name of the container in the text of /proc/<pid>/cgroup (cgroups(7)), or
// "" if there is none. A number such as "-1" follows the name if a cgroup with that name existed
// already. Inside is the same file as seen in the process's cgroup namespace, or empty if that is
// the host's.
func parsePayload(text, inside []byte) (name string, isProxmox bool) {
	paths := maps.Collect(cgroup.Memberships(inside)) // relative to the root of the cgroup namespace
	for hierarchy, path := range cgroup.Memberships(text) {
		if below := paths[hierarchy]; below != "/" {
			path = strings.TrimSuffix(path, below)
		}
		if name, isProxmox = parsePayloadPath(path); name != "" {
			break
		}
	}
	return name, isProxmox
}

// parsePayloadPath returns the container in the path of a cgroup. liblxc creates the cgroup
//
// below the cgroup of the host's init, that of a user, or any other. The outermost one counts.
func parsePayloadPath(path string) (name string, isProxmox bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, "lxc.payload."); ok && name != "" {
			return name, false
		}
		if (part == "lxc" || part == "lxc.payload") && i+1 < len(parts) && parts[i+1] != "" {
			name = parts[i+1]
			return name, i+2 < len(parts) && parts[i+2] == "ns" && isNumber(name)
		}
	}
	return "", false
}

// withoutNumber returns the name without the number that liblxc appends if the cgroup exists
// already.
func withoutNumber(name string) string {
	if i := strings.LastIndexByte(name, '-'); i > 0 && isNumber(name[i+1:]) {
		return name[:i]
	}
	return name
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// commandOfParent returns the words of the command line of the process's parent. The parent of a
// container's init is the monitor, "[lxc monitor] /var/lib/lxc NAME", or a foreground lxc-start.
// commandOfParent returns nil if the parent is not a process of the user who created the container:
// any user can adopt orphans (PR_SET_CHILD_SUBREAPER) under any command line.
func (o *Options) commandOfParent(process sys.File, creator uint32) []string {
	status, err := procfs.ReadTaskStatus(process)
	if err != nil {
		return nil
	}
	parent, err := sys.OpenDir(filepath.Join(o.Proc, strconv.Itoa(status.Parent)))
	if err != nil {
		return nil
	}
	defer parent.Close()
	status, err = procfs.ReadTaskStatus(parent)
	if err != nil || status.UIDs != [4]uint32{creator, creator, creator, creator} {
		return nil
	}
	command, err := parent.ReadSomeAt("cmdline", maxRecord, nil)
	if err != nil {
		return nil
	}
	return strings.FieldsFunc(string(command), func(r rune) bool { return r == 0 || r == ' ' })
}

// monitorEngine returns the engine to which the directory in a monitor's command line belongs, such
// as /var/lib/incus/containers or /var/snap/lxd/common/lxd/containers, or "" if unknown.
func monitorEngine(monitor []string) string {
	if len(monitor) < 3 || monitor[0] != "[lxc" || monitor[1] != "monitor]" {
		return ""
	}
	dir, base := path.Split(path.Clean(monitor[2]))
	if engine := path.Base(dir); base == "containers" && (engine == "incus" || engine == "lxd") {
		return engine
	}
	return ""
}
