package doctor

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"palisade/internal/authz/policy"
)

// frontUser is the user and the group of the unit authz-front@ENGINE.
const frontUser = "palisade-authz"

// front is the authz-broker front of an engine.
type front struct {
	engine *engineKind
	// upstream is the engine's own socket.
	upstream string
}

// fronts are the possible fronts, in the order of checks.
var fronts = []front{
	{&isulads[0], "/run/isulad.sock"},
	{&podman, "/run/podman/podman.sock"},
	{&docker, dockerSocket},
}

func (f *front) service() string { return "authz-front@" + f.engine.name + ".service" }
func (f *front) socket() string  { return "/run/authz-front/" + f.engine.name + ".sock" }
func (f *front) options() string { return "/etc/palisade/front/" + f.engine.name + ".env" }

// isUsed reports whether systemd starts the front at boot, or its socket exists.
func (f *front) isUsed(w *World) bool { return w.isEnabled(f.service()) || w.exists(f.socket()) }

func (w *World) usesFront() bool {
	return slices.ContainsFunc(fronts, func(f front) bool { return f.isUsed(w) })
}

// Front is the state of the authz-broker front of an engine.
type Front struct {
	Engine string `json:"engine"`
	// Enabled is set if systemd starts it at boot, Answers if it answers at its socket.
	Enabled bool `json:"enabled"`
	Answers bool `json:"answers"`
}

// checkFronts checks that each front answers, can use its engine and its policies, and that users
// cannot bypass it.
func checkFronts(ctx context.Context, w *World, r *Report) {
	for _, f := range fronts {
		wanted := len(w.Engines) == 0 || slices.Contains(w.Engines, f.engine.name)
		if !wanted || !f.isUsed(w) {
			continue
		}
		before := len(r.Findings)
		err := f.ask(ctx, w)
		r.fronts = append(r.fronts, Front{f.engine.name, w.isEnabled(f.service()), err == nil})
		if err != nil {
			r.error("front-silent", f.socket(), f.start(w), "the front of %s does not answer: %v",
				f.engine.name, bareNet(err))
		}
		f.checkAccess(w, r)
		f.checkBypass(w, r)
		if len(r.Findings) == before {
			r.fine("front-ok", f.engine.name, "its front answers, and users cannot bypass it")
		}
	}
}

func (f *front) start(w *World) remedy {
	if !w.hasUnit("authz-front@.service") {
		return advice("start authz-broker front --engine %s --listen unix://%s",
			f.engine.name, f.socket())
	}
	unit := strings.TrimSuffix(f.service(), ".service")
	return command("systemctl restart %s || journalctl --no-pager --unit %s --lines 20", unit, unit)
}

// bareNet removes the address from an error, which the finding names.
func bareNet(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// ask returns an error if the front does not answer a request. It accepts any answer: the policies
// may deny the request.
func (f *front) ask(ctx context.Context, w *World) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.path(f.socket()))
		},
	}
	defer transport.CloseIdleConnections()
	method, path, body, header := http.MethodGet, "/_ping", []byte(nil), http.Header{}
	if f.engine.name == "isulad" { // gRPC, with an empty message
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
		method, path, body = http.MethodPost, "/containers.ContainerService/Version", make([]byte, 5)
		header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://front"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = header
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// upstreamOption matches the option in the file of the unit's options.
var upstreamOption = regexp.MustCompile(`--upstream[ =]unix://(/\S+)`)

// upstreamSocket returns the engine's own socket.
func (f *front) upstreamSocket(w *World) string {
	text, _ := w.read(f.options(), maxConfig)
	if found := upstreamOption.FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return f.upstream
}

// checkAccess checks that the running front can open the engine's socket and read the policies.
func (f *front) checkAccess(w *World, r *Report) {
	ids := w.frontIDs(f.service())
	if ids == nil {
		return
	}
	socket := f.upstreamSocket(w)
	if info, err := os.Stat(w.path(socket)); err == nil && !ids.may(info, 2) {
		r.error("front-no-access", socket, command("chgrp %s %s", frontUser, quote(socket)),
			"the front of %s cannot open it; also configure the group %s of the engine's socket permanently",
			f.engine.name, frontUser)
	}
	dir := filepath.Dir(w.PolicyFile)
	above, err := os.Stat(w.path(dir))
	if err != nil {
		return
	}
	info, err := os.Stat(w.path(w.PolicyFile))
	if err == nil && (!ids.may(above, 1) || !ids.may(info, 4)) {
		r.error("front-no-access", w.PolicyFile,
			command("chgrp %s %s && chmod g+rx %s && chmod g+r %s",
				frontUser, quoteAll([]string{dir, w.PolicyFile}), quote(dir), quote(w.PolicyFile)),
			"the front of %s cannot read it, and keeps its current policies", f.engine.name)
	}
}

// ids are the effective user and all groups of a process.
type ids struct {
	user   uint64
	groups []uint64
}

// may reports whether the mode gives the process a permission: 1 search, 2 write, 4 read.
func (i *ids) may(info fs.FileInfo, permission fs.FileMode) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode().Perm(); {
	case !ok:
		return true
	case i.user == uint64(owner.Uid):
		return mode&(permission<<6) != 0
	case slices.Contains(i.groups, uint64(owner.Gid)):
		return mode&(permission<<3) != 0
	default:
		return mode&permission != 0
	}
}

// frontIDs returns the ids of the main process of the unit, or nil if it does not run or is root.
func (w *World) frontIDs(unit string) *ids {
	pids := w.processes(`system.slice/system-authz\x2dfront.slice/` + unit)
	if len(pids) == 0 {
		return nil
	}
	text, err := w.read("/proc/"+pids[0]+"/status", maxConfig)
	if i := parseIDs(text); err == nil && i.user != 0 {
		return &i
	}
	return nil
}

// parseIDs parses /proc/PID/status.
func parseIDs(status []byte) (i ids) {
	for line := range bytes.Lines(status) {
		key, values, _ := strings.Cut(string(line), ":")
		var numbers []uint64
		for _, field := range strings.Fields(values) {
			if n, err := strconv.ParseUint(field, 10, 32); err == nil {
				numbers = append(numbers, n)
			}
		}
		switch {
		case key == "Uid" && len(numbers) > 1:
			i.user = numbers[1]
		case key == "Gid" && len(numbers) > 1:
			i.groups = append(i.groups, numbers[1])
		case key == "Groups":
			i.groups = append(i.groups, numbers...)
		}
	}
	return i
}

// checkBypass checks that only root and the front can open the engine's own socket, and that the
// engine has no TCP socket that asks no plug-in.
func (f *front) checkBypass(w *World, r *Report) {
	socket := f.upstreamSocket(w)
	remedy := advice("let them use %s (docs/front.md): give %s the mode 0660 and the group %s",
		f.socket(), socket, frontUser)
	if info, err := os.Stat(w.path(socket)); err == nil {
		owner, _ := info.Sys().(*syscall.Stat_t)
		switch mode := info.Mode().Perm(); {
		case mode&2 != 0:
			r.warn("front-bypassed", socket, remedy,
				"any user can open %s's own socket, at which the policies do not apply", f.engine.name)
		case mode&0o20 != 0 && owner != nil && owner.Gid != 0:
			group, members := w.membersOf(owner.Gid)
			if len(members) == 0 {
				break
			}
			remedy := advice("remove them from the group %s, and let them use %s", group, f.socket())
			r.warn("front-bypassed", socket, remedy,
				"members of the group %s can open %s's own socket, at which the policies do not apply: %s",
				group, f.engine.name, list(members))
		}
	}
	if addresses := f.tcp(w); len(addresses) > 0 {
		r.warn("front-bypassed", f.engine.config,
			advice(`remove the addresses from "hosts"; the front can listen on them (docs/front.md)`),
			"%s itself listens on %s, where the policies do not apply", f.engine.name, list(addresses))
	}
}

// tcp returns the TCP addresses in the configuration of an engine that does not ask authz-broker.
func (f *front) tcp(w *World) (addresses []string) {
	text, err := w.read(f.engine.config, maxConfig)
	if err != nil {
		return nil
	}
	switch f.engine {
	case &docker:
		c, err := parseDocker(text)
		if err != nil || slices.Contains(c.Plugins, broker) {
			return nil
		}
		for _, host := range c.Hosts {
			if strings.HasPrefix(host, "tcp:") {
				addresses = append(addresses, host)
			}
		}
	case &isulads[0]:
		c, err := parseIsulad(text)
		w.addIsuladOptions(&c)
		if err == nil {
			return c.TCP()
		}
	}
	return addresses
}

// membersOf returns the name of a group and its users, except root and the front's.
func (w *World) membersOf(gid uint32) (name string, users []string) {
	number := strconv.FormatUint(uint64(gid), 10)
	name = number
	groups, _ := w.read("/etc/group", maxConfig)
	for line := range bytes.Lines(groups) {
		f := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(f) == 4 && f[2] == number {
			name = f[0]
			users = append(users, strings.FieldsFunc(f[3], func(c rune) bool { return c == ',' })...)
		}
	}
	passwd, _ := w.read("/etc/passwd", maxConfig)
	for line := range bytes.Lines(passwd) {
		if f := strings.Split(string(line), ":"); len(f) > 3 && f[3] == number {
			users = append(users, f[0])
		}
	}
	slices.Sort(users)
	users = slices.Compact(users)
	isTrusted := func(user string) bool { return user == "root" || user == frontUser }
	return name, slices.DeleteFunc(users, isTrusted)
}

// addNeedsFront adds findings about policies for clients of a front if no front is used.
func (w *World) addNeedsFront(r *Report, policies *policy.Set) {
	if w.usesFront() {
		return
	}
	for _, p := range policies.Policies {
		var keys []string
		for _, key := range []struct {
			name string
			set  bool
		}{
			{"unix_users", len(p.UnixUsers) > 0}, {"unix_groups", len(p.UnixGroups) > 0},
			{"containers", len(p.Containers) > 0}, {"own", p.Own},
		} {
			if key.set {
				keys = append(keys, key.name)
			}
		}
		if len(keys) > 0 {
			r.warn("policy-needs-front", w.PolicyFile+":"+strconv.Itoa(p.Line),
				advice("start a front (docs/front.md): `systemctl enable --now authz-front@ENGINE`"),
				"policy %q has %s, which apply only to clients of authz-broker front, but no front is used",
				p.Name, strings.Join(keys, ", "))
		}
	}
}
