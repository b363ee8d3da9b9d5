package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/certs"
	"palisade/internal/cli/cmdline"
)

func certsCommand() *cli.Command {
	var dir string
	var days int
	var servers, clients, groups cli.StringSlice
	return &cli.Command{
		Name:      "certs",
		Usage:     "create a certificate authority, and certificates for an engine and its users",
		UsageText: "authz-broker certs --dir DIR [--server NAME]... [--client CN]... [--group OU]...",
		Description: "Creates ca.pem, server-cert.pem and server-key.pem in DIR, and for each client " +
			"the directory DIR/CN with ca.pem, cert.pem and key.pem, for DOCKER_CERT_PATH. An " +
			"existing authority in DIR is used. No file is overwritten.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Destination: &dir, Usage: "create the files in `DIR`"},
			&cli.StringSliceFlag{Name: "server", Destination: &servers,
				Usage: "`NAME` or address of the engine's host; may be given several times"},
			&cli.StringSliceFlag{Name: "client", Destination: &clients,
				Usage: "name of a user (`CN`); may be given several times"},
			&cli.StringSliceFlag{Name: "group", Destination: &groups,
				Usage: "group of all these users (`OU`); may be given several times"},
			&cli.IntFlag{Name: "days", Value: 365, Destination: &days,
				Usage: "make the certificates valid for `N` days"},
		},
		Action: func(ctx *cli.Context) error {
			switch err := checkArguments(ctx, 0); {
			case err != nil:
				return err
			case dir == "":
				return cmdline.Usagef("--dir is missing")
			case len(servers.Value())+len(clients.Value()) == 0:
				return cmdline.Usagef("--server or --client is missing")
			case days < 1 || days > 36500:
				return cmdline.Usagef("--days %d: want 1 to 36500", days)
			}
			paths, err := certs.Create(certs.Request{
				Dir: dir, Servers: servers.Value(), Clients: clients.Value(),
				Groups: groups.Value(), Valid: time.Duration(days) * 24 * time.Hour,
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
