package doctor

import (
	"slices"
	"strings"

	"palisade/internal/inject/probe"
)

// Status is the state of all parts of a host.
type Status struct {
	// Healthy is set if there are neither errors nor warnings.
	Healthy  bool `json:"healthy"`
	Errors   int  `json:"errors"`
	Warnings int  `json:"warnings"`
	// Lxcfs lists the lxcfs on the host, that of the mount point first.
	Lxcfs []Lxcfs `json:"lxcfs"`
	// Containers is nil if the running containers are unknown.
	Containers *Containers `json:"containers"`
	// Hooks has the installed engines.
	Hooks []Hook `json:"hooks"`
	// Authz and Shift are nil if the program is not installed.
	Authz *Authz `json:"authz_broker,omitempty"`
	Shift *Shift `json:"userns_shift,omitempty"`
}

// Lxcfs is the state of an lxcfs.
type Lxcfs struct {
	Mountpoints []string    `json:"mountpoints"`
	State       probe.State `json:"state"`
	// Reason is the reason why it is not healthy.
	Reason string `json:"reason,omitempty"`
	PID    int    `json:"pid,omitempty"`
	// Version and Uptime are those of Palisade's lxcfs: the C version reports none.
	Version string  `json:"version,omitempty"`
	Uptime  float64 `json:"uptime_seconds,omitempty"`
	// IsOff is set if containers read the host's files until the next SIGUSR2.
	IsOff bool `json:"off,omitempty"`
}

// Containers has numbers of running containers.
type Containers struct {
	Running int `json:"running"`
	// WithFiles have files of an lxcfs that answers, DeadFiles those of one that has ended.
	WithFiles    int `json:"with_files"`
	WithoutFiles int `json:"without_files"`
	DeadFiles    int `json:"dead_files"`
	// Unknown could not be examined.
	Unknown int `json:"unknown"`
}

// Hook is the configuration of an engine.
type Hook struct {
	Engine string `json:"engine"`
	// Containers are those for which the engine calls the hook of lxcfs: "all", "some", which ask for
	// it, or "none". It is "broken" if the configuration has an error.
	Containers string `json:"containers"`
}

// reaches are the values of Hook.Containers, from best to worst.
var reaches = []string{"all", "some", "none", "broken"}

// reachOf maps findings about hooks to indices of reaches.
var reachOf = map[string]int{
	"hook-optional": 1, "hook-missing": 2, "hook-wrong-folder": 2,
	"hook-program": 3, "hook-wrong-stage": 3, "hook-order": 3, "config-broken": 3,
}

// Authz is the state of authz-broker.
type Authz struct {
	Version string `json:"version,omitempty"`
	// Enabled is set if systemd starts it at boot.
	Enabled bool `json:"enabled"`
	// Answers are the engines at whose sockets it answers, AskedBy those configured to ask it.
	Answers []string `json:"answers"`
	AskedBy []string `json:"asked_by"`
	// Fronts are those that are enabled or have a socket.
	Fronts []Front `json:"fronts"`
}

// Shift is the state of userns-shift.
type Shift struct {
	Version string `json:"version,omitempty"`
	// CalledBy are the engines that call it as a hook or runtime.
	CalledBy []string `json:"called_by"`
}

// Status returns the state of the parts of the host that was examined.
func (r *Report) Status() *Status {
	s := &Status{
		Healthy: !r.HasProblems(), Errors: r.Count(Error), Warnings: r.Count(Warning),
		Lxcfs: []Lxcfs{}, Containers: r.containers, Hooks: r.hookStatus(),
		Authz: r.authz, Shift: r.shift,
	}
	for _, server := range r.servers {
		l := Lxcfs{
			Mountpoints: server.points, State: server.State, Reason: server.Reason, PID: server.PID,
		}
		if status := server.Server; status != nil {
			l.Version, l.Uptime, l.IsOff = status.Version, status.Uptime, status.IsOff
		}
		s.Lxcfs = append(s.Lxcfs, l)
	}
	if s.Authz != nil {
		s.Authz.Version = r.Versions[broker]
		s.Authz.Answers = append([]string{}, s.Authz.Answers...)
		s.Authz.AskedBy = append([]string{}, r.askBroker...)
		s.Authz.Fronts = append([]Front{}, r.fronts...)
	}
	if s.Shift != nil {
		s.Shift.Version = r.Versions["userns-shift"]
		s.Shift.CalledBy = append([]string{}, r.callShift...)
	}
	return s
}

// hookStatus returns the engines with the worst finding about the hook of each.
func (r *Report) hookStatus() []Hook {
	hooks := []Hook{}
	for _, engine := range slices.Compact(r.engines) {
		worst := 0
		for _, f := range r.Findings {
			reach := reachOf[f.ID]
			if f.ID == "hook-optional" && !slices.Contains(r.optIn, engine) {
				reach = 2 // it needs none
			}
			if f.isOf(engine) {
				worst = max(worst, reach)
			}
		}
		hooks = append(hooks, Hook{engine, reaches[worst]})
	}
	return hooks
}

// isOf reports whether the finding is about the configuration of the engine.
func (f *Finding) isOf(engine string) bool {
	return f.check == engine ||
		f.check == "containers" && slices.Contains(strings.Split(f.Subject, ", "), engine)
}
