package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/front"
	"palisade/internal/cli/cmdline"
	unixsocket "palisade/internal/linux/socket"
)

func connectCommand() *cli.Command {
	var listen string
	var c front.Connector
	return &cli.Command{
		Name:  "connect",
		Usage: "connect programs without TLS to a front, with a user's certificate",
		UsageText: "authz-broker connect --listen unix:///PATH --cert FILE --key FILE --ca FILE " +
			"tcp://HOST:PORT",
		Description: "Only the user who starts the command, and root, can connect to the socket. " +
			"Programs use it as the engine's, as in docker -H unix:///PATH.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Destination: &listen,
				Usage: "listen at `SOCKET`, as unix:///PATH"},
			&cli.StringFlag{Name: "cert", Destination: &c.Cert, TakesFile: true,
				Usage: "certificate of the user, in `FILE`"},
			&cli.StringFlag{Name: "key", Destination: &c.Key, TakesFile: true,
				Usage: "key of the certificate, in `FILE`"},
			&cli.StringFlag{Name: "ca", Destination: &c.CA, TakesFile: true,
				Usage: "authority of the front's certificate, in `FILE`"},
		},
		Action: func(ctx *cli.Context) error {
			if err := checkArguments(ctx, 1); err != nil {
				return err
			}
			path, isUnix := strings.CutPrefix(listen, "unix://")
			address, isTCP := strings.CutPrefix(ctx.Args().First(), "tcp://")
			_, port, err := net.SplitHostPort(address)
			switch {
			case !isUnix || !filepath.IsAbs(path):
				return cmdline.Usagef("--listen %q: want unix:///PATH", listen)
			case !isTCP || err != nil || port == "":
				return cmdline.Usagef("%q: want the front as tcp://HOST:PORT", ctx.Args().First())
			case c.Cert == "" || c.Key == "" || c.CA == "":
				return cmdline.Usagef("--cert, --key or --ca is missing")
			}
			c.Address, c.Log = address, slog.New(slog.NewTextHandler(os.Stderr, nil))
			if err := c.Check(); err != nil {
				return err
			}
			l, err := unixsocket.Listen(path, 0o600)
			if err != nil {
				return fmt.Errorf("use --listen: %w", err)
			}
			c.Log.Info("serving", "socket", path, "front", address)
			return c.Serve(ctx.Context, l)
		},
	}
}
