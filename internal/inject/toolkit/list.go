package toolkit

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/sys"
)

// Listed is a running container.
type Listed struct {
	ID     string   `json:"id"`
	Names  []string `json:"names"`
	Engine string   `json:"engine"`
	PID    int      `json:"pid"`
	// Cgroup is the version of the cgroups that limit it: "v1", "v2", or "hybrid" for both.
	Cgroup string `json:"cgroup"`
	// Alive lists the files that a running lxcfs serves, Dead those of a dead lxcfs, and the mount
	// points of dead ones in volumes.
	Alive []string `json:"alive"`
	Dead  []string `json:"dead"`
	// HostMounts is set if it has no mount namespace of its own, and so cannot have files.
	HostMounts bool `json:"host_mounts,omitempty"`
	// Error is the reason why its files are unknown.
	Error string `json:"error,omitempty"`
}

// List lists all running containers.
type List struct {
	Containers []Listed         `json:"containers"`
	Skipped    []engine.Skipped `json:"skipped_engines,omitempty"`
}

// List lists the running containers with the files of lxcfs in each.
func (t *Toolkit) List(ctx context.Context) (List, error) {
	targets, skipped, err := t.find(ctx, nil)
	if err != nil {
		return List{}, err
	}
	own, err := mounts.OwnTable()
	if err != nil {
		return List{}, err
	}
	alive := make(map[sys.DeviceNumber]bool)
	isWanted := func(sys.DeviceNumber) bool { return true }
	for device, state := range probeEach(ctx, own, ProbeTime, isWanted) {
		alive[device] = state == probe.Healthy
	}
	mountpoint := own.Locate(t.Mountpoint)
	l := List{Containers: []Listed{}, Skipped: skipped}
	deadline := time.Now().Add(searchTime) // for those after root's
	for _, g := range targets {
		isRoots := g.rank() == 0
		if !isRoots && time.Now().After(deadline) {
			t.Log.Warn("containers of users are not listed: those before took too long", "id", g.ID)
			break
		}
		c, err := g.list(alive, mountpoint)
		if isRoots {
			deadline = time.Now().Add(searchTime)
		}
		if errors.Is(err, errGone) {
			continue
		} else if err != nil {
			t.Log.Warn("files of container not listed", "id", g.ID, "err", err)
			c.Error = err.Error()
		}
		l.Containers = append(l.Containers, c)
	}
	return l, nil
}

// list returns the target with its files. On an error other than errGone only these are unknown.
func (g *target) list(alive map[sys.DeviceNumber]bool, mountpoint mounts.Location) (Listed, error) {
	l := Listed{
		ID: g.ID, Names: append([]string{}, g.Names...), Engine: g.Engine, PID: g.PID,
		HostMounts: g.hostMounts, Alive: []string{}, Dead: []string{},
	}
	if len(g.namespaces) == 0 {
		text, err := sys.ReadFile("/proc/"+strconv.Itoa(g.PID)+"/cgroup", nil)
		if err != nil || !g.hostMounts {
			return l, errGone
		}
		l.Cgroup = cgroupVersion(text)
		return l, nil
	}
	err := g.namespaces[0].with(func(process sys.File, pid int) error {
		text, err := process.ReadFileAt("cgroup", nil)
		if err != nil {
			return err
		}
		l.Cgroup = cgroupVersion(text)
		table, err := mounts.ReadTable(process)
		if err != nil {
			return err
		}
		l.Alive, l.Dead = []string{}, []string{}
		for _, f := range table.Files() {
			if alive[f.Device] {
				l.Alive = append(l.Alive, f.Path)
			} else {
				l.Dead = append(l.Dead, f.Path)
			}
		}
		l.Dead = append(l.Dead, table.DeadVolumes(mountpoint, alive, g.IsLXC())...)
		return nil
	})
	return l, err
}

// cgroupVersion returns the version of the controllers in the text of /proc/<pid>/cgroup
// (cgroups(7)): "v1", "v2" or "hybrid".
func cgroupVersion(text []byte) string {
	v1, v2 := false, false
	for hierarchy, path := range cgroup.Memberships(text) {
		_, controllers, _ := strings.Cut(hierarchy, ":")
		switch {
		case hierarchy == "0:":
			v2 = v2 || path != "/"
		case !strings.HasPrefix(controllers, "name="):
			v1 = true
		}
	}
	switch {
	case v1 && v2:
		return "hybrid"
	case v1:
		return "v1"
	}
	return "v2"
}
