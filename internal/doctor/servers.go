package doctor

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"palisade/internal/mounts"
	"palisade/internal/probe"
	"palisade/internal/sys"
)

// server is a mounted lxcfs, with all its mount points on the host.
type server struct {
	probe.Result
	points []string
}

// servers are the lxcfs of the host.
type servers struct {
	// main is that of World.Mountpoint, beside has all others.
	main   probe.Result
	beside []*server
	err    error
}

// lxcfs returns the lxcfs of the host, which several checks look at: they are probed once.
func (w *World) lxcfs(ctx context.Context) *servers {
	w.probed.Do(func() { w.servers = w.findServers(ctx) })
	return w.servers
}

// maxProbes bounds how many lxcfs are probed at a time: Incus can have one for each container.
const maxProbes = 8

// findServers probes each lxcfs of the host once, at its first mount point: bind mounts of it have
// the same device.
func (w *World) findServers(ctx context.Context) *servers {
	found := new(servers)
	var wait sync.WaitGroup
	wait.Go(func() { found.main, found.err = w.Probe(ctx, w.Mountpoint) })
	if table, err := w.mountTable(); err == nil {
		found.beside = besideServers(table, w.Mountpoint)
	}
	turns := make(chan struct{}, maxProbes)
	for _, s := range found.beside {
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if r, err := w.Probe(ctx, s.points[0]); err == nil {
				s.Result = r
			}
		})
	}
	wait.Wait()
	found.beside = slices.DeleteFunc(found.beside, func(s *server) bool { return s.State == "" })
	return found
}

// besideServers returns the lxcfs of other mount points than the main one's, in the table's order.
func besideServers(table *mounts.Table, mountpoint string) (beside []*server) {
	byDevice := make(map[sys.DeviceNumber]*server)
	main := table.Top(mountpoint)
	for _, point := range table.Mountpoints() {
		top := table.Top(point)
		if top == nil || top.FSType != mounts.FSType {
			continue
		}
		device := mounts.Device(top)
		if main != nil && mounts.Device(main) == device {
			continue
		}
		if byDevice[device] == nil {
			byDevice[device] = new(server)
			beside = append(beside, byDevice[device])
		}
		byDevice[device].points = append(byDevice[device].points, point)
	}
	return beside
}

func (w *World) mountTable() (*mounts.Table, error) {
	text, err := w.read("/proc/thread-self/mountinfo", maxProc)
	if err != nil {
		return nil, err
	}
	return mounts.ParseTable(text)
}

// healthy returns all that answer.
func (s *servers) healthy() (healthy []*probe.Result) {
	if s.err == nil && s.main.State == probe.Healthy {
		healthy = append(healthy, &s.main)
	}
	for _, b := range s.beside {
		if b.State == probe.Healthy {
			healthy = append(healthy, &b.Result)
		}
	}
	return healthy
}

// isServing reports whether an lxcfs of this program answers at the main mount point.
func (s *servers) isServing() bool {
	return s.err == nil && s.main.State == probe.Healthy && s.main.Server != nil
}

// name is what people call the lxcfs.
func (s *server) name() string {
	if s.Server == nil {
		return "another lxcfs, such as the C version,"
	}
	return "lxcfs " + s.Server.Version
}

// checkBeside looks at the lxcfs of other mount points. isMain reports whether the host is meant to
// have one at World.Mountpoint: if not, those that answer serve the containers.
func (w *World) checkBeside(r *Report, found *servers, isMain bool) {
	before := len(r.Findings)
	for _, s := range found.beside {
		points := list(s.points)
		switch {
		case s.State != probe.Healthy:
			w.addFailing(r, found, s)
			continue
		case isMain:
			r.add(LxcfsBeside, points,
				do("keep it running: once it has ended, its files cannot be read in any container"),
				"%s serves files from there", s.name())
		case s.Server != nil:
			r.add(LxcfsElsewhere, points,
				run("lxcfs-toolkit --mountpoint %s doctor", quote(s.points[0])),
				"%s serves files from there, not from %s", s.name(), w.Mountpoint)
		default:
			r.add(LxcfsElsewhere, points, do(
				"do not stop or restart it, or its files cannot be read in any container: "+
					"install Palisade's package, then `%s` gives containers new ones",
				w.toolkit("remount", "--all")),
				"%s serves files from there, and nothing is mounted on %s", s.name(), w.Mountpoint)
		}
		w.checkOff(r, points, s.Server)
	}
	r.shorten(before)
}

// addFailing adds that an lxcfs of another mount point does not serve. Nothing is said of a restart
// where it answers: that would break what can be read.
func (w *World) addFailing(r *Report, found *servers, s *server) {
	points := list(s.points)
	if s.State == probe.Wedged {
		r.add(LxcfsBesideFails, points,
			do("see the log of its service; once it has ended, call lxcfs-toolkit doctor again"),
			"the lxcfs that is mounted there does not answer: %s", s.Reason)
		return
	}
	cure := do("start its service again; containers have its files again when they are restarted")
	if found.isServing() {
		bind := w.toolkit(append([]string{"bind"}, s.points...)...)
		cure = run("%s && %s", bind, w.toolkit("remount", "--all"))
	}
	r.add(LxcfsBesideFails, points, cure,
		"the lxcfs that is mounted there has ended: its files cannot be read in any container")
}

// checkOff adds that a server has been told by SIGUSR2 to show all containers the host's files.
func (w *World) checkOff(r *Report, subject string, s *probe.Status) {
	if s != nil && s.IsOff && s.PID > 1 {
		r.add(LxcfsOff, subject, run("kill -USR2 %d", s.PID),
			"SIGUSR2 has switched it off: all containers read the host's files")
	}
}

// unitServes reports whether systemd has the unit and its file names the mount point: the unit of
// another package may have the same name.
func (w *World) unitServes(unit, mountpoint string) bool {
	if !w.hasUnit(unit) {
		return false
	}
	for _, dir := range unitDirs {
		if text, err := w.read(filepath.Join(dir, unit), maxConfig); err == nil {
			return bytes.Contains(text, []byte(mountpoint))
		}
	}
	return false
}

// unitRuns reports whether the unit has a process.
func (w *World) unitRuns(unit string) bool {
	roots := []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
	return slices.ContainsFunc(roots, func(root string) bool {
		procs, err := w.read(fmt.Sprintf("%s/system.slice/%s/cgroup.procs", root, unit), maxConfig)
		return err == nil && strings.TrimSpace(string(procs)) != ""
	})
}
