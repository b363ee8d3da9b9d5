package doctor

import (
	"context"
	"slices"
	"strings"

	"palisade/internal/cmdline"
	"palisade/internal/probe"
	"palisade/internal/toolkit"
)

// maxNamed is of how many containers a kind of finding is told one by one.
const maxNamed = 20

// checkContainers looks at the files of lxcfs in containers that run, and at those of LXC to come.
func checkContainers(ctx context.Context, w *World, r *Report) {
	found, err := w.List(ctx)
	if err != nil {
		r.add(CheckIncomplete, "containers", do("see to it that /proc can be read"), "the containers are not known: %v", err)
	} else {
		w.checkRunning(ctx, r, &found)
	}
	w.checkLXC(ctx, r, found.Containers)
}

// checkRunning looks at the files of lxcfs in the containers.
func (w *World) checkRunning(ctx context.Context, r *Report, found *toolkit.List) {
	for _, s := range found.Skipped {
		if s.Source == isulads[0].name && w.isuladServesTCP(ctx) {
			continue // its client cannot ask without a unix socket (IsuladNoSocket)
		}
		r.add(EngineSilent, s.Source, w.wake(s.Source), "it was not asked which containers run: %s", s.Error)
	}
	healthy := w.lxcfs(ctx).healthy()
	lacks := make(map[*toolkit.Listed][]string)
	var unknown, dead, missing, incomplete []*toolkit.Listed
	fine := 0
	for i := range found.Containers {
		c := &found.Containers[i]
		switch {
		case c.HostMounts: // it can have none
		case c.Error != "":
			unknown = append(unknown, c)
		case len(c.Dead) > 0:
			dead = append(dead, c)
		case len(c.Alive) == 0:
			missing = append(missing, c)
		default:
			if lacks[c] = missingFiles(c, healthy); len(lacks[c]) > 0 {
				incomplete = append(incomplete, c)
			} else {
				fine++
			}
		}
	}
	for _, c := range unknown[:min(len(unknown), maxNamed)] {
		r.add(CheckIncomplete, containerName(c), do("see why it has so many mounts"), "it is not known which files of lxcfs it has: %s", c.Error)
	}
	w.addContainers(r, ContainerDead, dead, func(c *toolkit.Listed) string {
		return "files of an lxcfs that has ended, which cannot be read: " + list(c.Dead)
	})
	for len(missing) > 0 { // by engine: what it means depends on that
		engine := missing[0].Engine
		isOther := func(c *toolkit.Listed) bool { return c.Engine != engine }
		w.addContainers(r, ContainerMissing, slices.DeleteFunc(slices.Clone(missing), isOther), func(*toolkit.Listed) string {
			return "it has no file of lxcfs, and sees the host's"
		})
		missing = slices.DeleteFunc(missing, func(c *toolkit.Listed) bool { return !isOther(c) })
	}
	w.addContainers(r, ContainerIncomplete, incomplete, func(c *toolkit.Listed) string {
		return "it has no file of lxcfs on these, if it has them at all: " + list(lacks[c])
	})
	if fine > 0 {
		r.fine(ContainerOK, "containers", "%d of %d have all files of lxcfs", fine, len(found.Containers))
	}
}

// missingFiles returns the files that an lxcfs serves and the container lacks: of the lxcfs of which it
// lacks the fewest, since those of one do not replace another's. Single files of the CPU directory,
// which earlier versions mounted in its place, do not stand for it.
func missingFiles(c *toolkit.Listed, healthy []*probe.Result) (fewest []string) {
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

// addContainers adds a finding for each container, and one for all that are too many.
func (w *World) addContainers(r *Report, id ID, containers []*toolkit.Listed, problem func(*toolkit.Listed) string) {
	for i, c := range containers {
		if i == maxNamed {
			rest := containers[i:]
			r.add(id, "more containers", run("%s", w.toolkit("remount", "--all")), "the same is so for %d more", len(rest))
			r.Findings[len(r.Findings)-1].engine = c.Engine
			return
		}
		cure := run("%s", w.toolkit("remount", "--container-id", c.ID))
		if !plain.MatchString(c.ID) {
			cure = run("%s", w.toolkit("remount", "--all")) // somebody in the container has made the name
		}
		r.add(id, containerName(c), cure, "%s", problem(c))
		r.Findings[len(r.Findings)-1].engine = c.Engine
	}
}

// leaveOut makes less of containers without files whose engine calls the hook only for those that ask for it.
func (r *Report) leaveOut() {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.ID == ContainerMissing && slices.Contains(r.choosy, strings.ReplaceAll(f.engine, "cri-o", crio.name)) {
			f.ID, f.Level = ContainerLeftOut, kinds[ContainerLeftOut]
			f.Problem += ", since " + f.engine + " calls the hook for those alone that ask for it"
		}
	}
}

// containerName is what people call a container: its engine, its name, its id.
func containerName(c *toolkit.Listed) string {
	var words []string
	for _, name := range append(append([]string{c.Engine}, c.Names...), c.ID) {
		if name != "" && len(words) < 4 {
			words = append(words, cmdline.Word(name))
		}
	}
	return strings.Join(words, " ")
}

// wake is the remedy for an engine that does not answer.
func (w *World) wake(source string) remedy {
	name, _, _ := strings.Cut(source, " ")
	unit := map[string]string{"docker": docker.unit, "podman": "podman.service", "isulad": isulads[0].unit}[name]
	price := map[string]string{"docker": docker.price}[name]
	switch {
	case unit == "" || source == "podman": // its store, not its service
		return do("see to it that the file that is named can be read, or remove it")
	case w.hasUnit(unit):
		return run("systemctl --no-pager status %[1]s; journalctl --no-pager --unit %[1]s --lines 50 # at last restart it%[2]s", unit, price)
	}
	return do("see what its log says; at last restart %s%s", name, price)
}
