package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/learn"
	"palisade/internal/authz/migrate"
	"palisade/internal/cli/cmdline"
)

func learnCommand(stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "learn",
		Usage:     "print the smallest policies that allow what front --learn recorded",
		UsageText: "authz-broker learn FILE",
		Description: "Prints policies for the policy file, and warnings about what they leave open on " +
			"stderr.",
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() == 0 {
				return cmdline.Usagef("FILE is missing: that of front --learn")
			}
			if err := checkArguments(ctx, 1); err != nil {
				return err
			}
			entries, err := learn.Read(ctx.Args().First())
			if err != nil {
				return err
			}
			text, warnings, err := learn.Suggest(entries)
			if err != nil {
				return err
			}
			return printPolicies(ctx, stderr, text, warnings)
		},
	}
}

// printPolicies prints the text of a policy file, and warnings about it.
func printPolicies(ctx *cli.Context, stderr io.Writer, text []byte, warnings []string) error {
	for _, warning := range warnings {
		fmt.Fprintf(stderr, "authz-broker: warning: %s\n", cmdline.OneLine(warning))
	}
	_, err := cmdline.SafeJSONWriter(ctx.App.Writer).Write(text)
	return err
}

func importCommand(stdin io.Reader, stderr io.Writer) *cli.Command {
	var user, image string
	return &cli.Command{
		Name:      "import",
		Usage:     "print policies with the effect of a socket proxy's settings",
		UsageText: "authz-broker import [--user NAME] [--image IMAGE] socket-proxy [ENV-FILE]",
		Description: "Reads the variables of docker-socket-proxy (CONTAINERS=1), and the variables and " +
			"options of wollomatic/socket-proxy (SP_ALLOW_GET, -allowGET), one on a line of ENV-FILE or " +
			"of stdin. The file may be a compose file. Prints a policy for the policy file, and " +
			"warnings about differences on stderr.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", Value: "proxy", Destination: &user,
				Usage: "`NAME` of the policy's user, for front --listen unix:///PATH,user=NAME"},
			&cli.StringFlag{Name: "image", Value: migrate.Tecnativa, Destination: &image,
				Usage: "`IMAGE` of docker-socket-proxy: tecnativa or linuxserver"},
		},
		Action: func(ctx *cli.Context) error {
			switch {
			case ctx.Args().First() != "socket-proxy":
				return cmdline.Usagef("import %q: want socket-proxy", ctx.Args().First())
			case user == "":
				return cmdline.Usagef(`--user "" would be every user`)
			case image != migrate.Tecnativa && image != migrate.LinuxServer:
				return cmdline.Usagef("--image %q: want %s or %s", image,
					migrate.Tecnativa, migrate.LinuxServer)
			}
			if err := checkArguments(ctx, 2); err != nil {
				return err
			}
			read := func() ([]byte, error) { return io.ReadAll(stdin) }
			if file := ctx.Args().Get(1); file != "" {
				read = func() ([]byte, error) { return os.ReadFile(file) }
			}
			settings, err := read()
			if err != nil {
				return err
			}
			text, warnings, err := migrate.SocketProxy(user, image, migrate.Parse(string(settings)))
			if err != nil {
				return err
			}
			return printPolicies(ctx, stderr, text, warnings)
		},
	}
}
