package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
	"palisade/internal/linux/sys"
)

const (
	broker     = "authz-broker"
	brokerUnit = "authz-broker.service"
)

// brokerSocket returns the socket at which the broker answers an engine.
func brokerSocket(engine string) string { return "/run/" + engine + "/plugins/authz-broker.sock" }

func (w *World) hasBroker() bool { return w.program(broker) != "" || w.exists(w.PolicyFile) }

// checkAuthz checks that an engine asks the broker, and that the broker answers. The configuration
// must contain setting.
func (w *World) checkAuthz(
	ctx context.Context, r *Report, e *engineKind, plugins []string, setting string,
) {
	start := remedy{"(authz-broker >>/var/log/authz-broker.log 2>&1 &)", true}
	first := "start authz-broker"
	if w.hasUnit(brokerUnit) {
		start.text = "systemctl enable --now authz-broker"
		first = "`" + start.text + "`"
	}
	if !slices.Contains(plugins, broker) {
		// Without an answer of the broker dockerd does not start, and iSulad rejects every request.
		cure := advice("%s first, then put %s into %s%s", first, setting, e.config, e.restartWords())
		switch {
		case !w.hasBroker():
		case w.usesBroker(ctx):
			r.warn("authz-not-asked", e.name, cure,
				"authz-broker is not asked: its policies have no effect")
		default: // it may have been installed with the other packages
			r.info("authz-unused", e.name, cure,
				"authz-broker is installed, and neither enabled nor asked")
		}
		return
	}
	r.askBroker = append(r.askBroker, e.name)
	socket := brokerSocket(e.name)
	if err := askBroker(ctx, w.path(socket)); err != nil {
		r.error("authz-silent", socket, start,
			"%s asks authz-broker, which does not answer, and so refuses everything: %v",
			e.name, bareNet(err))
	}
}

func (w *World) usesBroker(ctx context.Context) bool {
	return w.isEnabled(brokerUnit) || len(w.brokerAnswers(ctx)) > 0
}

// brokerAnswers returns the engines at whose sockets the broker answers.
func (w *World) brokerAnswers(ctx context.Context) (engines []string) {
	for _, engine := range []string{"docker", "isulad"} {
		if askBroker(ctx, w.path(brokerSocket(engine))) == nil {
			engines = append(engines, engine)
		}
	}
	return engines
}

// askBroker returns an error if the broker does not answer. A connection is not enough: systemd
// listens for a broker that fails to start.
func askBroker(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		},
	}
	const url = "http://broker/Plugin.Activate"
	question, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(question)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// checkPolicy checks the policies of the broker like authz-broker check.
func checkPolicy(ctx context.Context, w *World, r *Report) {
	if !w.hasBroker() {
		return
	}
	r.authz = &Authz{Enabled: w.isEnabled(brokerUnit), Answers: w.brokerAnswers(ctx)}
	file := w.PolicyFile
	policies, err := policy.Load(w.path(file))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.error("policy-missing", file,
			advice("write policies to it; docs/authz-broker.md has examples"),
			"authz-broker cannot start: there are no policies")
		return
	case errors.Is(err, sys.ErrBeingWritten):
		r.warn("check-incomplete", file, advice("run palisade doctor again later"),
			"another process is writing it")
		return
	case err != nil:
		r.error("policy-broken", file,
			advice("correct it until `authz-broker check %s` reports no error", file),
			"authz-broker rejects it: %s", w.firstLine(err))
		return
	}
	if open, err := policy.IsWritableByOthers(w.path(file)); err == nil && open {
		r.warn("policy-writable", file, command("chmod go-w %s", quote(file)),
			"users other than its owner can change the policies")
	}
	switch {
	case !policies.IsDefault():
		w.addLint(r, policies)
	case r.authz.Enabled || len(r.authz.Answers) > 0 || w.usesFront():
		// This includes the other warnings.
		r.warn("policy-default", file,
			advice("write your policies to it, and run `authz-broker check`"),
			"it is unchanged since the installation: users who can open Docker's socket may do everything, "+
				"others, and clients of a front, nothing")
	}
	w.addNeedsFront(r, policies)
	if len(r.Findings) == 0 {
		r.fine("policy-ok", file, "no warnings")
	}
}

func (w *World) addLint(r *Report, policies *policy.Set) {
	before := len(r.Findings)
	var engines []action.Engine
	if w.has(&docker) {
		engines = append(engines, action.Docker)
	}
	if slices.ContainsFunc(isulads, func(e engineKind) bool { return w.has(&e) }) {
		engines = append(engines, action.Isulad)
	}
	for _, warning := range policies.Lint(engines...) {
		level, id := Warning, "policy-doubtful"
		cure := advice("change the line, or keep it if this is intended")
		if warning.Explicit {
			level, id = Info, "policy-plain"
			cure = advice("change the line if this is not intended")
		}
		r.add(level, id, fmt.Sprintf("%s:%d", w.PolicyFile, warning.Line), cure, "%s", warning.Text)
	}
	r.shorten(before, w.PolicyFile, command("authz-broker check %s", quote(w.PolicyFile)),
		"%d more lines may be unintended")
}

// firstLine returns the first line of an error, without the directory that stands for the root.
func (w *World) firstLine(err error) string {
	text, rest, more := strings.Cut(w.unrooted(err), "\n")
	if more {
		text += fmt.Sprintf(" (and %d more)", strings.Count(rest, "\n")+1)
	}
	return text
}
