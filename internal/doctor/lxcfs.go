package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"palisade/internal/probe"
	"palisade/internal/version"
)

const (
	lxcfsUnit = "lxcfs.service"
	// unitMountpoint is that of the unit.
	unitMountpoint = "/var/lib/lxc/lxcfs"
)

// checkLxcfs looks whether lxcfs answers, and which one it is.
func checkLxcfs(ctx context.Context, w *World, r *Report) {
	byUnit := w.Mountpoint == unitMountpoint && w.unitServes(lxcfsUnit, unitMountpoint)
	if byUnit && !w.isEnabled(lxcfsUnit) {
		r.add(LxcfsNotEnabled, lxcfsUnit, run("systemctl enable lxcfs"), "lxcfs is not started when the machine boots")
	}
	found := w.lxcfs(ctx)
	if found.err != nil {
		r.add(CheckIncomplete, w.Mountpoint, do("see to it that /proc can be read"), "lxcfs cannot be looked for: %v", found.err)
		return
	}
	// A process of the unit serves another mount point then: a restart would end it.
	isElsewhere := found.main.State == probe.NotMounted && len(found.healthy()) > 0 &&
		(!byUnit || w.unitRuns(lxcfsUnit))
	if !isElsewhere {
		w.checkMain(ctx, r, &found.main, byUnit)
	}
	w.checkBeside(r, found, !isElsewhere)
}

// checkMain looks at the lxcfs of World.Mountpoint.
func (w *World) checkMain(ctx context.Context, r *Report, found *probe.Result, byUnit bool) {
	start := run("%s && (lxcfs %s >>/var/log/lxcfs.log 2>&1 &) && %s",
		w.toolkit("prestart"), quote(w.Mountpoint), w.toolkit("remount", "--all"))
	again := run("%s; sleep 1; %s", w.cutOff(found), start.text)
	if byUnit {
		// Killed, it is started again, and takes over who waits; stopped, it would be waited for, and its mount be gone.
		const orWhy = " || journalctl --unit lxcfs --lines 20"
		start, again = run("systemctl restart lxcfs"+orWhy), run("systemctl kill --signal=KILL lxcfs; sleep 1; systemctl start lxcfs"+orWhy)
	}
	switch found.State {
	case probe.NotMounted:
		r.add(LxcfsNotMounted, w.Mountpoint, start, "lxcfs does not run: %s", found.Reason)
	case probe.Dead:
		r.add(LxcfsDead, w.Mountpoint, start, "lxcfs has ended, and its mount is dead: %s", found.Reason)
	case probe.Wedged:
		r.add(LxcfsWedged, w.Mountpoint, again, "lxcfs does not answer: %s", found.Reason)
	default:
		w.checkServer(ctx, r, found)
	}
}

// cutOff is a command that makes a server which hangs a dead one, so that nobody waits for it any more.
func (w *World) cutOff(found *probe.Result) string {
	cut := fmt.Sprintf("echo 1 >%s/%d/abort", fuseControl, found.Device.Minor)
	if mounted, err := w.fuseControl(); err == nil && !mounted {
		cut = mountFuseControl + " && " + cut
	}
	if found.PID > 1 {
		cut = fmt.Sprintf("kill -9 %d; %s", found.PID, cut)
	}
	return cut
}

// checkServer looks at an lxcfs that answers.
func (w *World) checkServer(ctx context.Context, r *Report, found *probe.Result) {
	s := found.Server
	if s == nil {
		r.add(LxcfsOther, w.Mountpoint, do("keep it running, or its files cannot be read in any container: "+
			"install Palisade's package, then `%s` gives containers new ones", w.toolkit("remount", "--all")),
			"another lxcfs answers, such as the C version: it tells nothing of itself")
		return
	}
	before := len(r.Findings)
	w.checkOff(r, w.Mountpoint, s)
	r.version("lxcfs", s.Version)
	if s.Worker == 0 {
		r.add(LxcfsNoWorker, w.Mountpoint,
			do("restart lxcfs, then call `%s`: containers cannot read its files meanwhile",
				w.toolkit("remount", "--all")),
			"process %d serves without a supervisor: when it ends, the mount is dead", s.PID)
	}
	w.checkOnDisk(ctx, r, s)
	if len(r.Findings) == before && s.Version != version.String() {
		r.add(LxcfsVersions, w.Mountpoint, do("install lxcfs and lxcfs-toolkit of the same version"),
			"lxcfs is of version %s, lxcfs-toolkit of version %s", s.Version, version.String())
	}
	if len(r.Findings) == before {
		r.fine(LxcfsOK, w.Mountpoint, "lxcfs answers, version %s", s.Version)
	}
}

// checkOnDisk looks at the program that an lxcfs of the host would be started from now. A process that sees other files is a
// container's: what it runs is not run here.
func (w *World) checkOnDisk(ctx context.Context, r *Report, s *probe.Status) {
	dir := filepath.Join("/proc", strconv.Itoa(s.PID))
	own := w.link("/proc/thread-self/ns/mnt")
	program := strings.TrimSuffix(w.link(dir+"/exe"), " (deleted)")
	if s.PID <= 0 || own == "" || w.link(dir+"/ns/mnt") != own || program == "" {
		return
	}
	if !w.exists(program) {
		r.add(LxcfsNoProgram, program, do("install lxcfs again"), "the program that serves is not on the disk any more: it cannot be started again")
		return
	}
	onDisk := w.versionOf(ctx, program)
	r.version("lxcfs-on-disk", onDisk)
	if onDisk != "" && onDisk != s.Version {
		r.add(LxcfsOutdated, w.Mountpoint, run("%s", w.toolkit("upgrade")), "version %s runs, version %s is on the disk", s.Version, onDisk)
	}
}
