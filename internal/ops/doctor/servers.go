package doctor

import (
	"bytes"
	"context"
	"fmt"
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
	points []string
}

// servers are the lxcfs on the host: main is the one on World.Mountpoint, beside lists all others.
type servers struct {
	main   server
	beside []*server
	err    error
}

// lxcfs returns the lxcfs on the host. It probes them once for all checks.
func (w *World) lxcfs(ctx context.Context) *servers {
	w.probed.Do(func() { w.servers = w.findServers(ctx) })
	return w.servers
}

// maxProbes bounds the number of concurrent probes: Incus can run one lxcfs for each container.
const maxProbes = 8

// findServers probes each lxcfs on the host once, at its first mount point. Its bind mounts have
// the same device.
func (w *World) findServers(ctx context.Context) *servers {
	found := new(servers)
	if table, err := w.mountTable(); err == nil {
		found.sort(table, w.Mountpoint)
	}
	if len(found.main.points) == 0 {
		found.main.points = []string{w.Mountpoint}
	}
	var wait sync.WaitGroup
	wait.Go(func() { found.main.Result, found.err = w.Probe(ctx, w.Mountpoint) })
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

// sort adds the mount points of each lxcfs, in the order of the table.
func (s *servers) sort(table *mounts.Table, mountpoint string) {
	byDevice := make(map[sys.DeviceNumber]*server)
	if main := table.Top(mountpoint); main != nil {
		byDevice[mounts.Device(main)] = &s.main
	}
	for _, point := range table.Mountpoints() {
		if !isLxcfs(table, point) {
			continue
		}
		device := mounts.Device(table.Top(point))
		if byDevice[device] == nil {
			byDevice[device] = new(server)
			s.beside = append(s.beside, byDevice[device])
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
func (s *servers) healthy() (healthy []*server) {
	all := s.beside
	if s.err == nil {
		all = append([]*server{&s.main}, all...)
	}
	for _, server := range all {
		if server.State == probe.Healthy {
			healthy = append(healthy, server)
		}
	}
	return healthy
}

// isServing reports whether palisade's lxcfs answers on the main mount point.
func (s *servers) isServing() bool {
	return s.err == nil && s.main.State == probe.Healthy && s.main.Server != nil
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
func (w *World) checkBeside(r *Report, found *servers, isMain bool) {
	before := len(r.Findings)
	for _, s := range found.beside {
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
func (w *World) addFailing(r *Report, found *servers, s *server) {
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
func (w *World) unitRuns(unit string) bool {
	roots := []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
	return slices.ContainsFunc(roots, func(root string) bool {
		procs, err := w.read(fmt.Sprintf("%s/system.slice/%s/cgroup.procs", root, unit), maxConfig)
		return err == nil && strings.TrimSpace(string(procs)) != ""
	})
}
