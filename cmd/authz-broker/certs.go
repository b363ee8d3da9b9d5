package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/certs"
	"palisade/internal/cmdline"
)

func certsCommand() *cli.Command {
	var dir string
	var days int
	var servers, clients, groups cli.StringSlice
	return &cli.Command{
		Name:      "certs",
		Usage:     "make an authority, and certificates for an engine and for its users",
		UsageText: "authz-broker certs --dir DIR [--server NAME]... [--client CN]... [--group OU]...",
		Description: "Makes ca.pem, server-cert.pem and server-key.pem in DIR, and DIR/CN/ca.pem, cert.pem and key.pem for each client, " +
			"the folder that DOCKER_CERT_PATH takes. The authority that is in DIR is used. No file is overwritten.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Destination: &dir, Usage: "make them in `DIR`"},
			&cli.StringSliceFlag{Name: "server", Destination: &servers, Usage: "a `NAME` or address of the engine's host; may be given several times"},
			&cli.StringSliceFlag{Name: "client", Destination: &clients, Usage: "a user; may be given several times"},
			&cli.StringSliceFlag{Name: "group", Destination: &groups, Usage: "a group of these users (OU); may be given several times"},
			&cli.IntFlag{Name: "days", Value: 365, Destination: &days, Usage: "valid for `N` days"},
		},
		Action: func(ctx *cli.Context) error {
			switch err := noMoreArguments(ctx, 0); {
			case err != nil:
				return err
			case dir == "":
				return cmdline.Usagef("--dir is missing")
			case len(servers.Value())+len(clients.Value()) == 0:
				return cmdline.Usagef("either --server or --client is needed")
			case days < 1 || days > 36500:
				return cmdline.Usagef("--days %d is not between 1 and 36500", days)
			}
			paths, err := certs.Make(certs.Request{
				Dir: dir, Servers: servers.Value(), Clients: clients.Value(), Groups: groups.Value(), Valid: time.Duration(days) * 24 * time.Hour,
			})
			if err != nil {
				return err
			}
			for _, path := range paths {
				if _, err := fmt.Fprintln(ctx.App.Writer, path); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
