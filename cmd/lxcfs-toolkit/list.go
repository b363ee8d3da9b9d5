package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/toolkit"
)

func listCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list running containers with the files of lxcfs in each",
		Flags: []cli.Flag{g.JSONFlag()},
		Action: options.AsRoot(func(ctx *cli.Context) error {
			list, err := g.toolkit().List(ctx.Context)
			if err != nil {
				return err
			}
			g.warnSkipped(list.Skipped)
			return g.Print(ctx.App.Writer, list, func(w io.Writer) { printList(w, &list) })
		}),
	}
}

func printList(w io.Writer, list *toolkit.List) {
	fmt.Fprintln(w, "CONTAINER\tNAME\tENGINE\tPID\tCGROUP\tALIVE\tDEAD")
	for _, c := range list.Containers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
			short(c.ID), cmp.Or(joinWords(c.Names), "-"), cmp.Or(c.Engine, "-"), c.PID, c.Cgroup,
			fileNames(c.Alive), fileNames(c.Dead))
	}
}

// fileNames returns the names of the files, with a directory only where the name needs one.
func fileNames(paths []string) string {
	var names []string
	for _, p := range paths {
		dir, name := path.Split(p)
		switch {
		case strings.HasSuffix(dir, "/pressure/"):
			name = "pressure/" + name
		case strings.HasSuffix(dir, "/cpu/"):
			name = "cpu/" + name
		}
		names = append(names, cmdline.Word(name))
	}
	return cmp.Or(strings.Join(names, ","), "-")
}
