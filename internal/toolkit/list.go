package toolkit

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"palisade/internal/mounts"
	"palisade/internal/probe"
	"palisade/internal/sys"
)

// Listed is a container that runs.
type Listed struct {
	ID     string   `json:"id"`
	Names  []string `json:"names"`
	Engine string   `json:"engine"`
	PID    int      `json:"pid"`
	// Cgroup is the cgroup version that limits it: "v1", "v2", or "hybrid" where it is in both.
	Cgroup string `json:"cgroup"`
	// Alive are the files that a running lxcfs serves, Dead those of one that is gone, and the mount
	// points of one in volumes.
	Alive []string `json:"alive"`
	Dead  []string `json:"dead"`
	// HostMounts tells that it has no mount namespace of its own, and so can have no files.
	HostMounts bool `json:"host_mounts,omitempty"`
	// Error tells why it is not known which files it has.
	Error string `json:"error,omitempty"`
}

// List is all containers that run.
type List struct {
	Containers []Listed        `json:"containers"`
	Skipped    []SkippedEngine `json:"skipped_engines,omitempty"`
}

// List lists the containers that run, with the files of theirs that are lxcfs's.
func (t *Toolkit) List(ctx context.Context) (List, error) {
	targets, skipped, err := t.find(ctx)
	if err != nil {
		return List{}, err
	}
	alive, err := healthy(ctx)
	if err != nil {
		return List{}, err
	}
	own, err := mounts.OwnTable()
	if err != nil {
		return List{}, err
	}
	mountpoint := own.Locate(t.Mountpoint)
	l := List{Containers: []Listed{}, Skipped: SkippedEngines(skipped)}
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
			t.Log.Warn("the files of a container are not listed", "id", g.ID, "err", err)
			c.Error = err.Error()
		}
		l.Containers = append(l.Containers, c)
	}
	return l, nil
}

// healthy are the file systems of the lxcfs on this host that answer.
func healthy(ctx context.Context) (map[sys.DeviceNumber]bool, error) {
	table, err := mounts.OwnTable()
	if err != nil {
		return nil, err
	}
	alive, isProbed := make(map[sys.DeviceNumber]bool), make(map[sys.DeviceNumber]bool)
	for _, point := range table.Mountpoints() {
		top := table.Top(point)
		if top == nil || isProbed[mounts.Device(top)] {
			continue
		}
		isProbed[mounts.Device(top)] = true
		if found, err := probe.Look(ctx, point, ProbeTime); err == nil && found.State == probe.Healthy {
			alive[found.Device] = true
		}
	}
	return alive, nil
}

// list looks at one. On an error other than errGone the rest is known.
func (g *target) list(alive map[sys.DeviceNumber]bool, mountpoint mounts.Location) (Listed, error) {
	l := Listed{
		ID: g.ID, Names: g.Names, Engine: g.Engine, PID: g.PID, HostMounts: g.hostMounts,
		Alive: []string{}, Dead: []string{},
	}
	if l.Names == nil {
		l.Names = []string{}
	}
	if len(g.spaces) == 0 {
		text, err := sys.ReadFile("/proc/"+strconv.Itoa(g.PID)+"/cgroup", nil)
		if err != nil || !g.hostMounts {
			return l, errGone
		}
		l.Cgroup = cgroupVersion(string(text))
		return l, nil
	}
	err := g.spaces[0].with(func(process sys.File, pid int) error {
		text, err := process.ReadFileAt("cgroup", nil)
		if err != nil {
			return err
		}
		l.Cgroup = cgroupVersion(string(text))
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

// cgroupVersion tells from /proc/<pid>/cgroup (cgroups(7)) which version's controllers hold the process.
func cgroupVersion(text string) string {
	v1, v2 := false, false
	for line := range strings.Lines(text) {
		number, rest, _ := strings.Cut(line, ":")
		names, path, _ := strings.Cut(rest, ":")
		switch {
		case number == "0" && names == "":
			v2 = v2 || strings.TrimSpace(path) != "/"
		case !strings.HasPrefix(names, "name="):
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
