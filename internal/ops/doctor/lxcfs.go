package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"palisade/internal/cli/version"
	"palisade/internal/inject/probe"
)

const (
	lxcfsUnit = "lxcfs.service"
	// installedUnit is the unit that palisade-nri installs, in the place of a package's.
	installedUnit = "palisade-lxcfs.service"
	// unitMountpoint is the mount point in the unit.
	unitMountpoint = "/var/lib/lxc/lxcfs"
)

// checkLxcfs checks that lxcfs answers, and its version.
func checkLxcfs(ctx context.Context, w *World, r *Report) {
	unit := lxcfsUnit
	if w.hasUnit(installedUnit) {
		unit = installedUnit
	}
	byUnit := w.Mountpoint == unitMountpoint && w.unitServes(unit, unitMountpoint)
	if byUnit && !w.isEnabled(unit) {
		r.info("lxcfs-not-enabled", unit, command("systemctl enable %s", unitName(unit)),
			"lxcfs is not started when the machine boots")
	}
	found := w.lxcfs(ctx)
	main := found[0]
	if main.err != nil {
		r.warn("check-incomplete", w.Mountpoint, advice("make /proc readable"),
			"lxcfs cannot be probed: %v", main.err)
		return
	}
	r.servers = found
	// Then a process of the unit serves another mount point, and a restart would end it.
	isElsewhere := main.State == probe.NotMounted && len(found.healthy()) > 0 &&
		(!byUnit || w.unitRuns(unit))
	if !isElsewhere {
		if !byUnit {
			unit = ""
		}
		w.checkMain(ctx, r, &main.Result, unit)
	}
	w.checkBeside(r, found, !isElsewhere)
}

// unitName returns the name of a service for systemctl.
func unitName(unit string) string { return strings.TrimSuffix(unit, ".service") }

// checkMain checks the main lxcfs. unit is the unit that serves it, or "".
func (w *World) checkMain(ctx context.Context, r *Report, found *probe.Result, unit string) {
	start := command("%s && (lxcfs %s >>/var/log/lxcfs.log 2>&1 &) && %s",
		w.toolkit("prestart"), quote(w.Mountpoint), w.remountAll())
	again := command("%s; sleep 1; %s", w.cutOff(found), start.text)
	if unit != "" {
		// After a kill, systemd restarts it, and it takes over the waiting readers. A stop would wait for
		// it, and unmount it.
		const orWhy = " || journalctl --unit %[1]s --lines 20"
		start = command("systemctl restart %[1]s"+orWhy, unitName(unit))
		again = command("systemctl kill --signal=KILL %[1]s; sleep 1; systemctl start %[1]s"+orWhy,
			unitName(unit))
	}
	switch found.State {
	case probe.NotMounted:
		r.error("lxcfs-not-mounted", w.Mountpoint, start, "lxcfs does not run: %s", found.Reason)
	case probe.Dead:
		r.error("lxcfs-dead", w.Mountpoint, start,
			"lxcfs has ended, and its mount is dead: %s", found.Reason)
	case probe.Wedged:
		r.error("lxcfs-wedged", w.Mountpoint, again, "lxcfs does not answer: %s", found.Reason)
	default:
		w.checkServer(ctx, r, found.Server)
	}
}

func (w *World) remountAll() string { return w.toolkit("remount", "--all") }

// cutOff returns a command that aborts the connection of a server that hangs, so that readers fail
// instead of waiting.
func (w *World) cutOff(found *probe.Result) string {
	cut := fmt.Sprintf("echo 1 >%s/%d/abort", fuseControl, found.Device.Minor)
	if w.lacksFuseControl() {
		cut = mountFuseControl + " && " + cut
	}
	if found.PID > 1 {
		cut = fmt.Sprintf("kill -9 %d; %s", found.PID, cut)
	}
	return cut
}

// checkServer checks an lxcfs that answers. s is nil for another lxcfs, such as the C version.
func (w *World) checkServer(ctx context.Context, r *Report, s *probe.Status) {
	if s == nil {
		r.warn("lxcfs-other", w.Mountpoint,
			advice("keep it running, or its files cannot be read in any container: "+
				"install palisade-lxcfs, then `%s` mounts new files in containers", w.remountAll()),
			"another lxcfs answers, such as the C version: it reports no status")
		return
	}
	before := len(r.Findings)
	w.checkOff(r, w.Mountpoint, s)
	r.version("lxcfs", s.Version)
	if s.Worker == 0 {
		r.warn("lxcfs-no-worker", w.Mountpoint,
			advice("restart lxcfs, then run `%s`: containers cannot read its files meanwhile",
				w.remountAll()),
			"process %d serves without a supervisor: when it ends, the mount is dead", s.PID)
	}
	w.checkOnDisk(ctx, r, s)
	switch {
	case len(r.Findings) > before:
	case s.Version != version.String():
		r.info("lxcfs-versions-differ", w.Mountpoint,
			advice("install lxcfs and palisade of the same version"),
			"lxcfs is of version %s, palisade of version %s", s.Version, version.String())
	default:
		r.fine("lxcfs-ok", w.Mountpoint, "lxcfs answers, version %s", s.Version)
	}
}

// checkOnDisk checks the program on disk from which lxcfs would be restarted. It skips a server in
// another mount namespace, such as a container: it runs a program of other files.
func (w *World) checkOnDisk(ctx context.Context, r *Report, s *probe.Status) {
	dir := filepath.Join("/proc", strconv.Itoa(s.PID))
	own := w.link("/proc/thread-self/ns/mnt")
	program := strings.TrimSuffix(w.link(dir+"/exe"), " (deleted)")
	// An upgrade starts the program by the same path, which may lead through a link.
	if line, err := w.read(dir+"/cmdline", maxConfig); err == nil {
		started, _, _ := strings.Cut(string(line), "\x00")
		if filepath.IsAbs(started) && filepath.Base(started) == filepath.Base(program) &&
			w.exists(started) {
			program = started
		}
	}
	if s.PID <= 0 || own == "" || w.link(dir+"/ns/mnt") != own || program == "" {
		return
	}
	if !w.exists(program) {
		r.warn("lxcfs-program-gone", program, advice("install lxcfs again"),
			"the program that serves was removed from the disk: it cannot be restarted")
		return
	}
	onDisk := w.versionOf(ctx, program)
	r.version("lxcfs-on-disk", onDisk)
	if onDisk != "" && onDisk != s.Version {
		r.warn("lxcfs-outdated", w.Mountpoint, command("%s", w.toolkit("upgrade")),
			"version %s runs, version %s is on the disk", s.Version, onDisk)
	}
}
