package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
	"palisade/internal/cli/cmdline"
)

type explanation struct {
	Allow  bool   `json:"allow"`
	Action string `json:"action"`
	Class  string `json:"class"`
	Policy string `json:"policy"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

func explainCommand() *cli.Command {
	return &cli.Command{
		Name:  "explain",
		Usage: "show whether a request of a user is allowed, by which policy, and why",
		UsageText: "authz-broker [--policy-file FILE] explain " +
			"(--user USER | --unix-user USER | --container NAME) " +
			"(--action ACTION | --command COMMAND | --method METHOD --uri URI) [--json]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user",
				Usage: "CommonName of the certificate; empty for the unix socket"},
			&cli.StringSliceFlag{Name: "group",
				Usage: "O or OU of the certificate; may be given several times"},
			&cli.StringFlag{Name: "unix-user",
				Usage: "user of the host at a unix socket of a front"},
			&cli.StringSliceFlag{Name: "unix-group",
				Usage: "group of the user of the host; may be given several times"},
			&cli.StringSliceFlag{Name: "container",
				Usage: "name or label (KEY=VALUE) of a container at a unix socket of a front; may be " +
					"given several times"},
			&cli.StringFlag{Name: "engine", Value: string(action.Docker),
				Usage: "engine of the action: docker, podman or isulad"},
			&cli.StringFlag{Name: "action",
				Usage: "name of an action; authz-broker actions lists them"},
			&cli.StringFlag{Name: "command",
				Usage: `command of the engine's client, such as exec or isula's "volume ls"`},
			&cli.StringFlag{Name: "body",
				Usage: "read the request's body from `FILE`, for policies with rules about it"},
			&cli.StringFlag{Name: "method",
				Usage: "HTTP method, with --uri; for isulad the full gRPC method, without --uri"},
			&cli.StringFlag{Name: "uri", Usage: "target of the request, as the client sends it"},
			&cli.BoolFlag{Name: "json", Usage: "print the decision as JSON"},
		},
		Action: explain,
	}
}

func explain(ctx *cli.Context) error {
	if err := checkArguments(ctx, 0); err != nil {
		return err
	}
	id, err := parseIdentity(ctx)
	if err != nil {
		return err
	}
	var body []byte
	if ctx.IsSet("body") {
		if body, err = os.ReadFile(ctx.String("body")); err != nil {
			return err
		}
	}
	requests, err := parseRequests(ctx, body)
	if err != nil {
		return err
	}
	policies, err := policy.Load(ctx.String("policy-file"))
	if err != nil {
		return err
	}
	all := commandExplanation{Allow: true, Command: ctx.String("command")}
	for _, r := range requests {
		e := explainRequest(ctx, policies, id, r)
		all.Allow = all.Allow && e.Allow
		all.Actions = append(all.Actions, e)
	}
	if ctx.Bool("json") {
		encoder := json.NewEncoder(cmdline.SafeJSONWriter(ctx.App.Writer))
		if all.Command == "" {
			return encoder.Encode(all.Actions[0])
		}
		return encoder.Encode(all)
	}
	all.print(ctx.App.Writer, ctx.String("policy-file"))
	return nil
}

// parseIdentity returns the client that the options describe.
func parseIdentity(ctx *cli.Context) (id policy.Identity, err error) {
	kinds := 0
	for _, option := range []string{"user", "unix-user", "container"} {
		if ctx.IsSet(option) {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		return id, cmdline.Usagef(`want --user, --unix-user or --container; ` +
			`--user "" is a user without a name`)
	case kinds > 1:
		return id, cmdline.Usagef("want one of --user, --unix-user and --container")
	case ctx.IsSet("group") && !ctx.IsSet("user"):
		return id, cmdline.Usagef("--group is for --user; use --unix-group")
	case ctx.IsSet("unix-group") && !ctx.IsSet("unix-user"):
		return id, cmdline.Usagef("--unix-group is for --unix-user")
	case ctx.IsSet("unix-user") && ctx.String("unix-user") == "":
		return id, cmdline.Usagef("--unix-user is empty")
	}
	id = policy.Identity{
		User: ctx.String("user"), Groups: ctx.StringSlice("group"),
		UnixUser: ctx.String("unix-user"), UnixGroups: ctx.StringSlice("unix-group"),
	}
	id.Local = ctx.IsSet("user") && id.User == "" && len(id.Groups) == 0 &&
		ctx.String("engine") == string(action.Docker)
	if !ctx.IsSet("container") {
		return id, nil
	}
	id.Container = &policy.Container{Labels: make(map[string]string)}
	for _, text := range ctx.StringSlice("container") {
		key, value, isLabel := strings.Cut(text, "=")
		switch {
		case isLabel:
			id.Container.Labels[key] = value
		case id.Container.Name != "":
			return id, cmdline.Usagef("--container: two names, %q and %q", id.Container.Name, text)
		default:
			id.Container.Name = text
		}
	}
	return id, nil
}

func explainRequest(
	ctx *cli.Context, policies *policy.Set, id policy.Identity, r policy.Request,
) explanation {
	isIsulad := ctx.String("engine") == string(action.Isulad)
	// iSulad's plug-in gets no body, and only users with certificates.
	sendsBody := !isIsulad || !ctx.IsSet("user") || ctx.IsSet("method")
	d := policies.Decide(id, r)
	note := ""
	if d.Reason == policy.NoBody && !ctx.IsSet("body") && sendsBody {
		d.Allow, d.Reason = true, policy.Granted
		note = `, unless "deny" forbids what its body asks for`
	}
	if d.Reason == policy.NotOwn && id.Owner() != "" && !isIsulad {
		if ctx.IsSet("uri") && (ctx.IsSet("body") || !policy.NeedsBody(r.Action())) {
			d = policies.Decide(id, r.WithOwners(policy.AllOwn(id)))
		} else {
			d.Allow = true // some requests with this action
		}
		if d.Allow {
			d.Reason = policy.Granted
			note = ", at a front, for containers that the client has created"
		}
	}
	e := explanation{
		Allow: d.Allow, Action: d.Action.Name, Class: d.Action.Class(), Reason: d.Explain() + note,
	}
	if d.Policy != nil {
		e.Policy, e.Line = d.Policy.Name, d.Policy.Line
	}
	return e
}

// commandExplanation is the decision about a command, which may request several actions.
type commandExplanation struct {
	Allow   bool          `json:"allow"`
	Command string        `json:"command"`
	Actions []explanation `json:"actions"`
}

func (c *commandExplanation) print(w io.Writer, file string) {
	if c.Command != "" {
		var names []string
		for _, e := range c.Actions {
			names = append(names, e.Action)
		}
		fmt.Fprintf(w, "%s: %s needs %s\n", verdicts[c.Allow], c.Command, strings.Join(names, ", "))
	}
	for _, e := range c.Actions {
		fmt.Fprintf(w, "%s: %s\n", verdicts[e.Allow], e.Reason)
		if e.Line > 0 {
			fmt.Fprintf(w, "policy: %s:%d\n", file, e.Line)
		}
	}
}

var verdicts = map[bool]string{true: "allowed", false: "denied"}

// parseRequests returns the request on the command line, or the requests of a command, with the
// body.
func parseRequests(ctx *cli.Context, body []byte) ([]policy.Request, error) {
	engine, err := selectedEngine(ctx)
	byRequest := ctx.IsSet("method") || ctx.IsSet("uri")
	switch {
	case err != nil:
		return nil, err
	case ctx.IsSet("action") && ctx.IsSet("command"),
		(ctx.IsSet("action") || ctx.IsSet("command")) == byRequest:
		return nil, cmdline.Usagef("want one of --action, --command, and --method with --uri")
	case byRequest && engine == action.Isulad && !ctx.IsSet("uri"):
		return []policy.Request{policy.IsuladRequest(ctx.String("method"), body)}, nil
	case byRequest && (!ctx.IsSet("method") || !ctx.IsSet("uri")):
		return nil, cmdline.Usagef("--method and --uri must be used together")
	case byRequest && engine == action.Isulad:
		return nil, cmdline.Usagef("--uri is for docker and podman only")
	case byRequest:
		newRequest := policy.DockerRequest
		if engine == action.Podman {
			newRequest = policy.PodmanRequest
		}
		return []policy.Request{newRequest(ctx.String("method"), ctx.String("uri"), body)}, nil
	}
	var actions []action.Action
	if name := ctx.String("command"); ctx.IsSet("command") {
		c, ok := action.FindCommand(engine, name)
		if !ok {
			var names []string
			for _, c := range action.Commands() {
				if c.Engine == engine {
					names = append(names, c.Name)
				}
			}
			slices.Sort(names)
			return nil, cmdline.Usagef("--command %q: unknown command of %s; want one of %s",
				name, engine, strings.Join(names, ", "))
		}
		actions = c.Actions
	} else {
		name := ctx.String("action")
		for _, a := range action.List(engine) {
			if a.Name == name {
				actions = append(actions, a)
			}
		}
		if len(actions) == 0 {
			return nil, cmdline.Usagef("--action %q: unknown action of %s "+
				"(authz-broker actions lists them)", name, engine)
		}
	}
	newRequest := policy.ActionRequest
	if engine == action.Podman {
		newRequest = policy.PodmanAction
	}
	var requests []policy.Request
	for _, a := range actions {
		requests = append(requests, newRequest(a, body))
	}
	return requests, nil
}

// selectedEngine returns the engine that the option --engine names.
func selectedEngine(ctx *cli.Context) (action.Engine, error) {
	engine := action.Engine(ctx.String("engine"))
	if !slices.Contains(action.Engines, engine) {
		return "", cmdline.Usagef("--engine %q: want docker, podman or isulad", engine)
	}
	return engine, nil
}
