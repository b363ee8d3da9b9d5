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
	"palisade/internal/cmdline"
)

// explanation is what explain prints of one action.
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
		Name:      "explain",
		Usage:     "tell how a request of a user is decided, by which policy, and why",
		UsageText: "authz-broker [--policy-file FILE] explain --user USER (--action ACTION | --command COMMAND | --method METHOD --uri URI) [--json]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", Usage: "the CommonName of the certificate; empty for the unix socket"},
			&cli.StringSliceFlag{Name: "group", Usage: "an O or OU of the certificate; may be given several times"},
			&cli.StringFlag{Name: "engine", Usage: "whose action it is: docker or isulad", Value: string(action.Docker)},
			&cli.StringFlag{Name: "action", Usage: "the name of an action, see authz-broker actions"},
			&cli.StringFlag{Name: "command",
				Usage: `a command of the engine's client, such as exec or, of isula, "volume ls"`},
			&cli.StringFlag{Name: "body", Usage: "the request's body is in `FILE`, for policies with rules about it"},
			&cli.StringFlag{Name: "method", Usage: "the method of a request to Docker's API"},
			&cli.StringFlag{Name: "uri", Usage: "its target, as it is sent"},
			&cli.BoolFlag{Name: "json", Usage: "print the decision as JSON"},
		},
		Action: explain,
	}
}

func explain(ctx *cli.Context) error {
	if err := noMoreArguments(ctx, 0); err != nil {
		return err
	}
	if !ctx.IsSet("user") {
		return cmdline.Usagef(`--user is missing; "" is the user without a name`)
	}
	var body []byte
	if ctx.IsSet("body") {
		var err error
		if body, err = os.ReadFile(ctx.String("body")); err != nil {
			return err
		}
	}
	wanted, err := wantedRequests(ctx, body)
	if err != nil {
		return err
	}
	policies, err := policy.Load(ctx.String("policy-file"))
	if err != nil {
		return err
	}
	all := commandExplanation{Allow: true, Command: ctx.String("command")}
	for _, r := range wanted {
		e := explainRequest(ctx, policies, r)
		all.Allow = all.Allow && e.Allow
		all.Actions = append(all.Actions, e)
	}
	return all.print(ctx)
}

// explainRequest explains the decision about a request of the user.
func explainRequest(ctx *cli.Context, policies *policy.Set, r policy.Request) explanation {
	ofDocker := ctx.String("engine") == string(action.Docker)
	who := policy.Identity{User: ctx.String("user"), Groups: ctx.StringSlice("group")}
	// A client of Docker without a name is at the unix socket.
	who.Local = who.User == "" && len(who.Groups) == 0 && ofDocker
	d := policies.Decide(who, r)
	note := ""
	if d.Reason == policy.NoBody && !ctx.IsSet("body") && ofDocker {
		d.Allow, d.Reason = true, policy.Granted
		note = `, unless its body asks for what "deny" lists`
	}
	e := explanation{
		Allow: d.Allow, Action: d.Action.Name, Class: d.Action.Class(), Reason: d.Explain() + note,
	}
	if d.Policy != nil {
		e.Policy, e.Line = d.Policy.Name, d.Policy.Line
	}
	return e
}

// commandExplanation is what explain prints of a command, which asks for several actions.
type commandExplanation struct {
	Allow   bool          `json:"allow"`
	Command string        `json:"command"`
	Actions []explanation `json:"actions"`
}

func (c *commandExplanation) print(ctx *cli.Context) error {
	switch {
	case ctx.Bool("json") && c.Command != "":
		return printJSON(ctx.App.Writer, c)
	case ctx.Bool("json"):
		return printJSON(ctx.App.Writer, c.Actions[0])
	}
	if c.Command != "" {
		var names []string
		for _, e := range c.Actions {
			names = append(names, e.Action)
		}
		fmt.Fprintf(ctx.App.Writer, "%s: %s asks for %s\n", verdict(c.Allow), c.Command, strings.Join(names, ", "))
	}
	for _, e := range c.Actions {
		fmt.Fprintf(ctx.App.Writer, "%s: %s\n", verdict(e.Allow), e.Reason)
		if e.Line > 0 {
			fmt.Fprintf(ctx.App.Writer, "policy: %s:%d\n", ctx.String("policy-file"), e.Line)
		}
	}
	return nil
}

// printJSON prints a value as one line of JSON, and escapes non-printable characters.
func printJSON(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.Write(append(cmdline.SafeJSON(text), '\n'))
	return err
}

func verdict(allow bool) string {
	if allow {
		return "allowed"
	}
	return "denied"
}

// wantedRequests returns the request on the command line, or the requests of a command, with the
// body.
func wantedRequests(ctx *cli.Context, body []byte) ([]policy.Request, error) {
	engine := action.Engine(ctx.String("engine"))
	byRequest := ctx.IsSet("method") || ctx.IsSet("uri")
	switch {
	case engine != action.Docker && engine != action.Isulad:
		return nil, unknownEngine(engine)
	case count(ctx.IsSet("action"), ctx.IsSet("command"), byRequest) != 1:
		return nil, cmdline.Usagef("either --action, or --command, or --method and --uri are needed")
	case byRequest && (!ctx.IsSet("method") || !ctx.IsSet("uri")):
		return nil, cmdline.Usagef("--method and --uri belong together")
	case byRequest && engine != action.Docker:
		return nil, cmdline.Usagef("--method and --uri are for docker; %s asks for actions by name", engine)
	case byRequest:
		r := policy.DockerRequest(ctx.String("method"), ctx.String("uri"), body)
		return []policy.Request{r}, nil
	}
	actions, err := namedActions(engine, ctx)
	var requests []policy.Request
	for _, a := range actions {
		requests = append(requests, policy.ActionRequest(a, body))
	}
	return requests, err
}

// namedActions returns the action on the command line, or the actions of a command.
func namedActions(engine action.Engine, ctx *cli.Context) ([]action.Action, error) {
	if ctx.IsSet("command") {
		return actionsOfCommand(engine, ctx.String("command"))
	}
	name := ctx.String("action")
	for _, a := range action.List(engine) {
		if a.Name == name {
			return []action.Action{a}, nil
		}
	}
	return nil, cmdline.Usagef("--action %q is none of %s (authz-broker actions lists them)", name, engine)
}

func count(given ...bool) (n int) {
	for _, is := range given {
		if is {
			n++
		}
	}
	return n
}

func actionsOfCommand(engine action.Engine, name string) ([]action.Action, error) {
	if c, ok := action.FindCommand(engine, name); ok {
		return c.Actions, nil
	}
	var names []string
	for _, c := range action.Commands() {
		if c.Engine == engine {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return nil, cmdline.Usagef("--command %q is none of %s's: %s", name, engine, strings.Join(names, ", "))
}

func unknownEngine(engine action.Engine) error {
	return cmdline.Usagef("--engine %q is none of %s, %s", engine, action.Docker, action.Isulad)
}
