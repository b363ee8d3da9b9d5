package doctor

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/toolkit"
)

// checkContainers checks the files of lxcfs in running containers, and the hooks for new ones of
// LXC.
func checkContainers(ctx context.Context, w *World, r *Report) {
	found, err := w.List(ctx)
	if err != nil {
		r.warn("check-incomplete", "containers", advice("make /proc readable"),
			"running containers are unknown: %v", err)
	} else {
		w.checkRunning(ctx, r, &found)
	}
	w.checkLXC(ctx, r, found.Containers)
}

func (w *World) checkRunning(ctx context.Context, r *Report, found *toolkit.List) {
	for _, s := range found.Skipped {
		if s.Source == isulads[0].name && w.isuladServesTCP(ctx) {
			continue // its client needs a unix socket (isulad-no-unix-socket)
		}
		r.warn("engine-silent", s.Source, w.wake(s.Source), "its containers are unknown: %s", s.Error)
	}
	healthy := w.lxcfs(ctx).healthy()
	before, fine := len(r.Findings), 0
	count := &Containers{Running: len(found.Containers)}
	r.containers = count
	add := func(c *toolkit.Listed, level Level, id string, cure remedy, problem string) {
		r.add(level, id, containerName(c), cure, "%s", problem)
		r.Findings[len(r.Findings)-1].engine = c.Engine
	}
	remountAll := command("%s", w.remountAll())
	leavesOut := w.nriRules()
	for i := range found.Containers {
		c := &found.Containers[i]
		cure := remountAll
		if plain.MatchString(c.ID) { // the container may have chosen the name
			cure.text = w.toolkit("remount", "--container-id", c.ID)
		}
		switch lacks := missingFiles(c, healthy); {
		case c.HostMounts: // it cannot have files
			count.WithoutFiles++
		case c.Error != "":
			if count.Unknown++; count.Unknown <= maxNamed {
				add(c, Warning, "check-incomplete", advice("find out why it has so many mounts"),
					"its files of lxcfs are unknown: "+c.Error)
			}
		case len(c.Dead) > 0:
			count.DeadFiles++
			add(c, Error, "container-files-dead", cure,
				"files of an lxcfs that has ended, which cannot be read: "+list(c.Dead))
		case len(c.Alive) == 0 && leavesOut(c):
			count.WithoutFiles++
			add(c, Info, "container-left-out", cure, "it has no file of lxcfs: the rules of "+
				"palisade-nri leave out its pod, or it is the sandbox of one")
		case len(c.Alive) == 0:
			count.WithoutFiles++
			add(c, Warning, "container-files-missing", cure,
				"it has no file of lxcfs, and sees the host's")
		case len(lacks) > 0:
			count.WithFiles++
			add(c, Info, "container-files-incomplete", cure,
				"these files are missing, or are not those of lxcfs: "+list(lacks))
		default:
			count.WithFiles++
			fine++
		}
	}
	r.shorten(before, "more containers", remountAll, "%d more have the same problem")
	order := []string{
		"check-incomplete", "container-files-dead", "container-files-missing",
		"container-files-incomplete",
	}
	slices.SortStableFunc(r.Findings[before:], func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.ID), slices.Index(order, b.ID)),
			cmp.Compare(a.engine, b.engine))
	})
	if fine > 0 {
		r.fine("container-ok", "containers", "%d of %d have all files of lxcfs",
			fine, len(found.Containers))
	}
}

// missingFiles returns the files that an lxcfs serves and the container lacks. Of several lxcfs it
// takes the one of which the fewest are missing. Single files of the CPU directory, which earlier
// versions mounted, do not count as the directory.
func missingFiles(c *toolkit.Listed, healthy servers) (fewest []string) {
	for i, lxcfs := range healthy {
		var missing []string
		for _, file := range lxcfs.Files {
			if file = "/" + file; !slices.Contains(c.Alive, file) {
				missing = append(missing, file)
			}
		}
		if i == 0 || len(missing) < len(fewest) {
			fewest = missing
		}
	}
	return fewest
}

// leaveOut lowers the level of containers without files if their engine calls the hook only for
// those that ask for it.
func (r *Report) leaveOut() {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.ID == "container-files-missing" &&
			slices.Contains(r.optIn, strings.ReplaceAll(f.engine, "cri-o", crio.name)) {
			f.ID, f.Level = "container-left-out", Info
			f.Problem += ", since " + f.engine + " calls the hook only for containers that ask for it"
		}
	}
}

func containerName(c *toolkit.Listed) string {
	var words []string
	for _, name := range append(append([]string{c.Engine}, c.Names...), c.ID) {
		if name != "" && len(words) < 4 {
			words = append(words, cmdline.Word(name))
		}
	}
	return strings.Join(words, " ")
}

// wake returns the remedy for an engine that does not answer.
func (w *World) wake(source string) remedy {
	name, _, _ := strings.Cut(source, " ")
	unit := name + ".service"
	impact := ""
	if name == docker.name {
		impact = docker.impact
	}
	switch {
	case !slices.Contains([]string{"docker", "podman", "isulad"}, name),
		source == "podman": // its store, not its service
		return advice("make the named file readable, or remove it")
	case w.hasUnit(unit):
		return command("systemctl --no-pager status %[1]s; "+
			"journalctl --no-pager --unit %[1]s --lines 50 # as a last resort restart it%[2]s", unit, impact)
	}
	return advice("see its log; as a last resort restart %s%s", name, impact)
}
