package doctor

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
)

// server is a mounted lxcfs, with all its mount points on the host.
type server struct {
	probe.Result
	err    error
	points []string
}

// servers are the lxcfs on the host. The first is the one on World.Mountpoint, which may be
// missing; the others answered the probe.
type servers []*server

// lxcfs returns the lxcfs on the host. It probes them once for all checks.
func (w *World) lxcfs(ctx context.Context) servers {
	w.probed.Do(func() { w.servers = w.findServers(ctx) })
	return w.servers
}

// maxProbes bounds the number of concurrent probes: Incus can run one lxcfs for each container.
const maxProbes = 8

// findServers probes each lxcfs on the host once, at its first mount point. Its bind mounts have
// the same device.
func (w *World) findServers(ctx context.Context) servers {
	found := servers{new(server)}
	if table, err := w.mountTable(); err == nil {
		found.addMounted(table, w.Mountpoint)
	}
	main := found[0]
	if len(main.points) == 0 {
		main.points = []string{w.Mountpoint}
	}
	var wait sync.WaitGroup
	turns := make(chan struct{}, maxProbes)
	for _, s := range found {
		point := s.points[0]
		if s == main {
			point = w.Mountpoint
		}
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			s.Result, s.err = w.Probe(ctx, point)
		})
	}
	wait.Wait()
	return slices.DeleteFunc(found, func(s *server) bool { return s != main && s.err != nil })
}

// addMounted adds each mounted lxcfs with its mount points, in the order of the table.
func (s *servers) addMounted(table *mounts.Table, mountpoint string) {
	byDevice := make(map[sys.DeviceNumber]*server)
	if main := table.Top(mountpoint); main != nil {
		byDevice[mounts.Device(main)] = (*s)[0]
	}
	for _, point := range table.Mountpoints() {
		if !isLxcfs(table, point) {
			continue
		}
		device := mounts.Device(table.Top(point))
		if byDevice[device] == nil {
			byDevice[device] = new(server)
			*s = append(*s, byDevice[device])
		}
		byDevice[device].points = append(byDevice[device].points, point)
	}
}

func isLxcfs(table *mounts.Table, dir string) bool {
	top := table.Top(dir)
	return top != nil && top.FSType == mounts.FSType
}

func (w *World) mountTable() (*mounts.Table, error) {
	text, err := w.read("/proc/thread-self/mountinfo", maxProc)
	if err != nil {
		return nil, err
	}
	return mounts.ParseTable(text)
}

// healthy returns the lxcfs that answer.
func (s servers) healthy() servers {
	isUnhealthy := func(s *server) bool { return s.err != nil || s.State != probe.Healthy }
	return slices.DeleteFunc(slices.Clone(s), isUnhealthy)
}

// isServing reports whether palisade's lxcfs answers on the main mount point.
func (s servers) isServing() bool {
	return s[0].err == nil && s[0].State == probe.Healthy && s[0].Server != nil
}

// name returns the name of the lxcfs in findings.
func (s *server) name() string {
	if s.Server == nil {
		return "another lxcfs, such as the C version,"
	}
	return "lxcfs " + s.Server.Version
}

// checkBeside checks the lxcfs on other mount points. If isMain is false, the host needs none on
// World.Mountpoint: the others serve the containers.
func (w *World) checkBeside(r *Report, found servers, isMain bool) {
	before := len(r.Findings)
	for _, s := range found[1:] {
		points := list(s.points)
		switch {
		case s.State != probe.Healthy:
			w.addFailing(r, found, s)
			continue
		case isMain:
			r.info("lxcfs-beside", points,
				advice("keep it running: once it has ended, its files cannot be read in any container"),
				"%s serves files from there", s.name())
		case s.Server != nil:
			r.warn("lxcfs-elsewhere", points,
				command("palisade --mountpoint %s doctor", quote(s.points[0])),
				"%s serves files from there, not from %s", s.name(), w.Mountpoint)
		default:
			r.warn("lxcfs-elsewhere", points,
				advice("do not stop or restart it, or its files cannot be read in any container: "+
					"install palisade-lxcfs, then `%s` mounts new files in containers", w.remountAll()),
				"%s serves files from there, and nothing is mounted on %s", s.name(), w.Mountpoint)
		}
		w.checkOff(r, points, s.Server)
	}
	r.shortenOthers(before)
}

// addFailing adds that an lxcfs on another mount point does not serve. For one that hangs it does
// not advise a restart, which would make all its files dead.
func (w *World) addFailing(r *Report, found servers, s *server) {
	points := list(s.points)
	if s.State == probe.Wedged {
		r.warn("lxcfs-beside-fails", points,
			advice("see the log of its service; once it has ended, run palisade doctor again"),
			"the lxcfs that is mounted there does not answer: %s", s.Reason)
		return
	}
	cure := advice("start its service again; containers get its files again when you restart them")
	if found.isServing() {
		bind := w.toolkit(append([]string{"bind"}, s.points...)...)
		cure = command("%s && %s", bind, w.remountAll())
	}
	r.warn("lxcfs-beside-fails", points, cure,
		"the lxcfs that is mounted there has ended: its files cannot be read in any container")
}

// checkOff adds that SIGUSR2 has made a server show the host's files to all containers.
func (w *World) checkOff(r *Report, subject string, s *probe.Status) {
	if s != nil && s.IsOff && s.PID > 1 {
		r.warn("lxcfs-switched-off", subject, command("kill -USR2 %d", s.PID),
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
func (w *World) unitRuns(unit string) bool { return len(w.processes("system.slice/"+unit)) > 0 }

// processes returns the ids of the processes in one of systemd's cgroups.
func (w *World) processes(cgroup string) []string {
	roots := []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
	for _, root := range roots {
		procs, err := w.read(filepath.Join(root, cgroup, "cgroup.procs"), maxConfig)
		if pids := strings.Fields(string(procs)); err == nil && len(pids) > 0 {
			return pids
		}
	}
	return nil
}
