// Package clidoc generates the options and commands of a man page, and completions for bash and
// zsh, from the definition of a program's command line. Only tests use it: they compare the files
// in the repository with the programs.
package clidoc

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Program is a program with its words for completions.
type Program struct {
	App *cli.App
	// Aliases are other names of the program with the same command line.
	Aliases []string
	// Values are the words that may follow an option ("--log-level"), or a command as its argument
	// ("hook-spec").
	Values map[string][]string
}

// scope is the program itself, or a command.
type scope struct {
	Name, Usage, Synopsis, Description string // empty for the program
	Options                            []option
	// Words may follow the command as its argument.
	Words []string
}

type option struct {
	Names  []string // with their dashes; the first is the long one
	Value  string   // a word for the value, "" if it takes none
	Usage  string
	Preset string // the default value
	Env    []string
	Many   bool // it may be given several times
	// Words are its values, if they are known.
	Words []string
}

// IsCommand reports whether the scope is a command.
func (s scope) IsCommand() bool { return s.Name != "" }

// All returns the options, with that for help, which every command has.
func (s scope) All() []option {
	hasHelp := func(o option) bool { return slices.Contains(o.Names, "--help") }
	if slices.ContainsFunc(s.Options, hasHelp) {
		return s.Options
	}
	help := option{Names: []string{"--help", "-h"}, Usage: "show help"}
	return append(slices.Clone(s.Options), help)
}

// WithValue returns the names of the options that take a value.
func (s scope) WithValue() (names []string) {
	for _, o := range s.Options {
		if o.Value != "" {
			names = append(names, o.Names...)
		}
	}
	return names
}

// Names returns the name of the program and its aliases.
func (p Program) Names() []string { return append([]string{p.App.Name}, p.Aliases...) }

var noIdentifier = regexp.MustCompile(`[^a-z0-9_]`)

// Function returns the name of the shell function.
func (p Program) Function() string { return "_" + noIdentifier.ReplaceAllString(p.App.Name, "_") }

// Scopes returns the program itself, and its commands.
func (p Program) Scopes() []scope {
	p.App.Setup()
	return append([]scope{{Options: p.options(p.App.Flags)}}, p.Commands()...)
}

// Commands returns the commands.
func (p Program) Commands() (all []scope) {
	for _, c := range p.App.Commands {
		if c.Hidden || c.Name == "help" {
			continue
		}
		synopsis := c.UsageText
		if synopsis == "" {
			synopsis = p.App.Name + " " + c.Name
			if c.ArgsUsage != "" || len(c.Flags) > 0 {
				synopsis = strings.TrimSpace(synopsis + " [OPTIONS] " + c.ArgsUsage)
			}
		}
		all = append(all, scope{
			Name: c.Name, Usage: c.Usage, Synopsis: synopsis, Description: c.Description,
			Options: p.options(c.Flags), Words: p.Values[c.Name],
		})
	}
	return all
}

func (p Program) options(flags []cli.Flag) (all []option) {
	for _, flag := range flags {
		f, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			panic(fmt.Sprintf("option %v has no documentation", flag.Names()))
		}
		o := option{Env: f.GetEnvVars(), Preset: f.GetDefaultText()}
		for _, name := range flag.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			o.Names = append(o.Names, dashes+name)
		}
		o.Words = p.Values[o.Names[0]]
		o.Value, o.Usage = valueOf(f)
		if slice, ok := flag.(cli.DocGenerationSliceFlag); ok {
			o.Many = slice.IsSliceFlag()
		}
		if f.TakesValue() && o.Preset == "" {
			o.Preset = f.GetValue()
		}
		if slices.Contains([]string{"false", "0", "[]", `""`}, o.Preset) {
			o.Preset = ""
		}
		all = append(all, o)
	}
	return all
}

// valueOf returns the word between backquotes in the usage, and the usage without them.
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
