package doctor

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/oci/wiring"
)

// pluginSetting makes iSulad ask authz-broker, for connections that it listens for with TLS.
const pluginSetting = `"authorization-plugin": "authz-broker"`

// checkIsuladAccess checks who can use iSulad. It asks its plug-in only about connections over TCP
// with TLS: any user of its unix socket may do everything.
func (w *World) checkIsuladAccess(ctx context.Context, r *Report, e *engineKind, c *wiring.Isulad) {
	remote := w.hasRemote(ctx, e)
	tcp := strings.Join(c.TCP(), ", ")
	mend := advice(`put "tls-verify": true and "tls-config" into %s, or remove %s from "hosts", `+
		`or OPTIONS of %s%s`, e.config, tcp, isuladOptions, e.restartWords())
	switch {
	case tcp == "":
	case !remote:
		r.error("isulad-no-remote", e.config, advice(`remove %s from "hosts", or install a build with `+
			`ENABLE_GRPC_REMOTE_CONNECT%s`, tcp, e.restartWords()),
			"it is built without remote connections, and does not start with %s", tcp)
	case !c.TLS:
		r.error("isulad-tcp-open", e.config, mend,
			"any client that reaches %s is root: TLS is off, and no plug-in is asked", tcp)
	case !c.TLSVerify:
		r.error("isulad-tls-no-verify", e.config, mend,
			"it requires no certificate at %s: clients can take any user's name", tcp)
	case c.Plugin == "":
		r.info("isulad-certificate-is-root", e.config,
			advice(`put %s into %s, or remove %s from "hosts"%s`,
				pluginSetting, e.config, tcp, e.restartWords()),
			"any client with a certificate of its authority is root at %s: it asks no plug-in", tcp)
	default:
		r.info("authz-client-says", e.name,
			advice("use authz-broker front (docs/front.md), or give certificates only to users you trust"),
			"it does not ask about a client without the metadata tls_mode; "+
				"the client chooses the user name")
	}
	if !c.HasSocket() && remote {
		r.info("isulad-no-unix-socket", e.config,
			advice(`put "unix:///var/run/isulad.sock" into "hosts" beside %s%s`, tcp, e.restartWords()),
			"isula without -H cannot connect; containers are found by iSulad's files")
	}
	w.checkIsuladPlugin(ctx, r, e, c, remote)
}

// checkIsuladPlugin checks that iSulad asks authz-broker, and that the broker answers.
func (w *World) checkIsuladPlugin(
	ctx context.Context, r *Report, e *engineKind, c *wiring.Isulad, remote bool,
) {
	hasTCP := len(c.TCP()) > 0
	const listen = `"hosts" with a tcp:// address, "tls-verify": true and "tls-config"`
	switch {
	case !remote && (c.Plugin != "" || w.hasBroker() && w.usesBroker(ctx)):
		r.warn("authz-never-asked", e.name,
			advice("use authz-broker front (docs/front.md), or let root alone open its unix socket"),
			"it is built without remote connections, and never asks a plug-in: policies have no effect")
	case !remote:
	case c.Plugin != "" && !hasTCP:
		r.warn("authz-never-asked", e.name,
			advice("put %s into %s%s", listen, e.config, e.restartWords()),
			`it never asks its plug-in: no tcp:// address is in "hosts", `+
				"and any user of its unix socket may do everything")
	case c.Plugin != "" && !c.TLS: // isulad-tcp-open says so
	case hasTCP && c.TLS:
		w.checkAuthz(ctx, r, e, []string{c.Plugin}, pluginSetting)
	default:
		w.checkAuthz(ctx, r, e, []string{c.Plugin}, pluginSetting+", "+listen)
	}
}

// hasRemote reports whether iSulad can listen on TCP. Builds without ENABLE_GRPC_REMOTE_CONNECT,
// which is off by default since 2.1.5, do not have the option.
func (w *World) hasRemote(ctx context.Context, e *engineKind) bool {
	program := w.program(e.program)
	if program == "" || w.checkProgram(program) != nil {
		return true
	}
	help, err := w.Ask(ctx, program, "--help")
	return err != nil || strings.Contains(help, "--tlsverify")
}

// isuladServesTCP reports whether iSulad accepts connections over TCP and has no unix socket.
func (w *World) isuladServesTCP(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for i := range isulads {
		text, _ := w.read(isulads[i].config, maxConfig)
		c, err := parseIsulad(text) // which rejects "" if the file cannot be read
		w.addIsuladOptions(&c)
		if err != nil || c.HasSocket() {
			continue
		}
		for _, host := range c.TCP() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(host, "tcp://"))
			if err == nil {
				conn.Close()
				return true
			}
		}
	}
	return false
}

// addIsuladOptions adds the options of the unit to the configuration.
func (w *World) addIsuladOptions(c *wiring.Isulad) {
	if options, err := w.read(isuladOptions, maxConfig); err == nil {
		c.AddOptions(options)
	}
}

// checkIsuladDirs checks that other users can search the directories down to lcr's containers, as
// the root of a container with --user-remap has to.
func (w *World) checkIsuladDirs(r *Report, graph string) {
	lcr := filepath.Join(graph, "engines/lcr")
	if !w.exists(lcr) {
		return
	}
	var closed []string
	for dir := lcr; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(w.path(dir))
		if err == nil && info.Mode().Perm()&0o001 == 0 {
			closed = append(closed, dir)
		}
	}
	if len(closed) == 0 {
		return
	}
	slices.Reverse(closed)
	r.info("isulad-folders-closed", closed[0], command("chmod o+x %s", quoteAll(closed)),
		"containers of lcr with --user-remap do not start, since other users cannot search these "+
			"directories; isulad closes %s when it starts", graph)
}
