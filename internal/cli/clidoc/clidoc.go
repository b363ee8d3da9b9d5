// Package clidoc makes, of the definition of a program's command line, what its man page says of options and commands, and
// completions for bash and zsh. Only tests use it: they hold the files to the programs.
package clidoc

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// Program is what the files are made of.
type Program struct {
	App *cli.App
	// Aliases are other names of the program with the same command line.
	Aliases []string
	// Values are the words that may follow an option ("--log-level"), or a command as its argument ("hook-spec").
	Values map[string][]string
}

// option is what a page and a completion say of a flag.
type option struct {
	names  []string // with their dashes; the first is the long one
	value  string   // a word for what follows; "" where nothing does
	usage  string
	preset string // what holds where it is not given
	env    []string
	many   bool
}

func options(flags []cli.Flag) (list []option) {
	for _, flag := range flags {
		f, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			panic(fmt.Sprintf("the option %v documents nothing", flag.Names()))
		}
		o := option{env: f.GetEnvVars()}
		for _, name := range flag.Names() {
			o.names = append(o.names, dashes(name))
		}
		o.value, o.usage = valueOf(f)
		if slice, ok := flag.(cli.DocGenerationSliceFlag); ok {
			o.many = slice.IsSliceFlag()
		}
		if o.preset = f.GetDefaultText(); f.TakesValue() && o.preset == "" {
			o.preset = f.GetValue()
		}
		switch o.preset {
		case "false", "0", "[]", `""`:
			o.preset = ""
		}
		list = append(list, o)
	}
	return list
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// valueOf is what stands between backquotes in the usage, and the usage without them.
func valueOf(f cli.DocGenerationFlag) (value, usage string) {
	before, rest, found := strings.Cut(f.GetUsage(), "`")
	if found {
		name, after, _ := strings.Cut(rest, "`")
		return name, before + name + after
	}
	if f.TakesValue() {
		value = "VALUE"
	}
	return value, f.GetUsage()
}
