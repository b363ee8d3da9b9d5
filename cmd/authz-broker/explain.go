package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"palisade/internal/action"
	"palisade/internal/cmdline"
	"palisade/internal/policy"
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
		UsageText: "authz-broker [--policy-file FILE] explain --user USER (--action ACTION | --method METHOD --uri URI) [--json]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", Usage: "the CommonName of the certificate; empty for the unix socket"},
			&cli.StringSliceFlag{Name: "group", Usage: "an O or OU of the certificate; may be given several times"},
			&cli.StringFlag{Name: "engine", Usage: "whose action it is: docker or isulad", Value: string(action.Docker)},
			&cli.StringFlag{Name: "action", Usage: "the name of an action, see authz-broker actions"},
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
	a, err := wantedAction(ctx)
	if err != nil {
		return err
	}
	policies, err := policy.Load(ctx.String("policy-file"))
	if err != nil {
		return err
	}
	user := ctx.String("user")
	d := policies.Decide(user, ctx.StringSlice("group"), a)
	e := explanation{Allow: d.Allow, Action: a.Name, Class: a.Class(), Reason: d.Explain(user, a)}
	if d.Policy != nil {
		e.Policy, e.Line = d.Policy.Name, d.Policy.Line
	}
	if ctx.Bool("json") {
		return json.NewEncoder(ctx.App.Writer).Encode(e)
	}
	verdict := "denied"
	if e.Allow {
		verdict = "allowed"
	}
	_, err = fmt.Fprintf(ctx.App.Writer, "%s: %s\n", verdict, e.Reason)
	if err == nil && d.Policy != nil {
		_, err = fmt.Fprintf(ctx.App.Writer, "policy: %s:%d\n", ctx.String("policy-file"), e.Line)
	}
	return err
}

// wantedAction is the one that the command line names.
func wantedAction(ctx *cli.Context) (action.Action, error) {
	engine, name := action.Engine(ctx.String("engine")), ctx.String("action")
	switch {
	case engine != action.Docker && engine != action.Isulad:
		return action.Action{}, unknownEngine(engine)
	case ctx.IsSet("action") == (ctx.IsSet("method") || ctx.IsSet("uri")):
		return action.Action{}, cmdline.Usagef("either --action, or --method and --uri are needed")
	case !ctx.IsSet("action") && (!ctx.IsSet("method") || !ctx.IsSet("uri")):
		return action.Action{}, cmdline.Usagef("--method and --uri belong together")
	case !ctx.IsSet("action") && engine != action.Docker:
		return action.Action{}, cmdline.Usagef("--method and --uri are for docker; %s asks for actions by name", engine)
	case !ctx.IsSet("action"):
		return action.OfRequest(ctx.String("method"), ctx.String("uri")), nil
	}
	for _, a := range action.Of(engine) {
		if a.Name == name {
			return a, nil
		}
	}
	return action.Action{}, cmdline.Usagef("--action %q is none of %s (authz-broker actions lists them)", name, engine)
}

func unknownEngine(engine action.Engine) error {
	return cmdline.Usagef("--engine %q is none of %s, %s", engine, action.Docker, action.Isulad)
}
