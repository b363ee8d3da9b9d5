package doctor

import (
	"context"
	"slices"
	"strings"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/toolkit"
)

// maxNamed bounds the number of findings of one kind.
const maxNamed = 20

// checkContainers checks the files of lxcfs in running containers, and the hooks for new ones of
// LXC.
func checkContainers(ctx context.Context, w *World, r *Report) {
	found, err := w.List(ctx)
	if err != nil {
		r.add(CheckIncomplete, "containers", advice("make /proc readable"),
			"running containers are unknown: %v", err)
	} else {
		r.containers = &found
		w.checkRunning(ctx, r, &found)
	}
	w.checkLXC(ctx, r, found.Containers)
}

func (w *World) checkRunning(ctx context.Context, r *Report, found *toolkit.List) {
	for _, s := range found.Skipped {
		if s.Source == isulads[0].name && w.isuladServesTCP(ctx) {
			continue // its client needs a unix socket (IsuladNoSocket)
		}
		r.add(EngineSilent, s.Source, w.wake(s.Source), "its containers are unknown: %s", s.Error)
	}
	healthy := w.lxcfs(ctx).healthy()
	problems := make(map[ID][]brokenContainer)
	fine := 0
	for i := range found.Containers {
		c := &found.Containers[i]
		id, problem := ContainerOK, ""
		switch lacks := missingFiles(c, healthy); {
		case c.HostMounts: // it cannot have files
			continue
		case c.Error != "":
			id, problem = CheckIncomplete, "its files of lxcfs are unknown: "+c.Error
		case len(c.Dead) > 0:
			id = ContainerDead
			problem = "files of an lxcfs that has ended, which cannot be read: " + list(c.Dead)
		case len(c.Alive) == 0:
			id, problem = ContainerMissing, "it has no file of lxcfs, and sees the host's"
		case len(lacks) > 0:
			id = ContainerIncomplete
			problem = "these files are missing, or are not those of lxcfs: " + list(lacks)
		default:
			fine++
			continue
		}
		problems[id] = append(problems[id], brokenContainer{c, problem})
	}
	unknown := problems[CheckIncomplete]
	for _, c := range unknown[:min(len(unknown), maxNamed)] {
		r.add(CheckIncomplete, containerName(c.Listed), advice("find out why it has so many mounts"),
			"%s", c.problem)
	}
	w.addContainers(r, ContainerDead, problems[ContainerDead])
	missing := problems[ContainerMissing]
	for len(missing) > 0 { // by engine: leaveOut depends on it
		engine := missing[0].Engine
		isOther := func(c brokenContainer) bool { return c.Engine != engine }
		w.addContainers(r, ContainerMissing, slices.DeleteFunc(slices.Clone(missing), isOther))
		missing = slices.DeleteFunc(missing, func(c brokenContainer) bool { return !isOther(c) })
	}
	w.addContainers(r, ContainerIncomplete, problems[ContainerIncomplete])
	if fine > 0 {
		r.fine(ContainerOK, "containers", "%d of %d have all files of lxcfs", fine, len(found.Containers))
	}
}

type brokenContainer struct {
	*toolkit.Listed
	problem string
}

// missingFiles returns the files that an lxcfs serves and the container lacks. Of several lxcfs it
// takes the one of which the fewest are missing. Single files of the CPU directory, which earlier
// versions mounted, do not count as the directory.
func missingFiles(c *toolkit.Listed, healthy []*server) (fewest []string) {
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

// addContainers adds a finding for each of the first maxNamed containers, and one for all others.
func (w *World) addContainers(r *Report, id ID, containers []brokenContainer) {
	for i, c := range containers {
		all := command("%s", w.remountAll())
		switch {
		case i == maxNamed:
			r.add(id, "more containers", all, "%d more have the same problem", len(containers)-i)
		case plain.MatchString(c.ID):
			cure := command("%s", w.toolkit("remount", "--container-id", c.ID))
			r.add(id, containerName(c.Listed), cure, "%s", c.problem)
		default: // the container has chosen the name
			r.add(id, containerName(c.Listed), all, "%s", c.problem)
		}
		r.Findings[len(r.Findings)-1].engine = c.Engine
		if i == maxNamed {
			return
		}
	}
}

// leaveOut lowers the level of containers without files if their engine calls the hook only for
// those that ask for it.
func (r *Report) leaveOut() {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.ID == ContainerMissing &&
			slices.Contains(r.optIn, strings.ReplaceAll(f.engine, "cri-o", crio.name)) {
			f.ID, f.Level = ContainerLeftOut, kinds[ContainerLeftOut]
			f.Problem += ", since " + f.engine + " calls the hook only for containers that ask for it"
		}
	}
}

// containerName returns the engine, the names and the id of a container.
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
