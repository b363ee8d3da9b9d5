package clidoc

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// Options is what the man page says of the program's options and commands, in Markdown.
func (p Program) Options() string {
	p.App.Setup()
	var b strings.Builder
	b.WriteString("# OPTIONS\n\n")
	writeOptions(&b, p.App.Flags)
	if len(p.App.Commands) > 0 {
		b.WriteString("# COMMANDS\n\n")
	}
	for _, command := range p.App.Commands {
		if command.Hidden || command.Name == "help" {
			continue
		}
		fmt.Fprintf(&b, "### %s\n\n", synopsis(p.App.Name, command))
		fmt.Fprintf(&b, "%s.\n\n", escape(upper(command.Usage)))
		if command.Description != "" {
			fmt.Fprintf(&b, "%s\n\n", escape(command.Description))
		}
		writeOptions(&b, command.Flags)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func writeOptions(b *strings.Builder, flags []cli.Flag) {
	for _, o := range options(flags) {
		var names []string
		for _, name := range o.names {
			names = append(names, "**"+name+"**")
		}
		b.WriteString(strings.Join(names, ", "))
		if o.value != "" {
			fmt.Fprintf(b, " *%s*", o.value)
		}
		fmt.Fprintf(b, "\n: %s.", escape(upper(o.usage)))
		if o.many && !strings.Contains(o.usage, "several times") && !strings.Contains(o.usage, "repeated") {
			b.WriteString(" May be given several times.")
		}
		if o.preset != "" {
			fmt.Fprintf(b, " Default: %s.", escape(strings.Trim(o.preset, `"`)))
		}
		if len(o.env) > 0 {
			fmt.Fprintf(b, " Also by the variable %s.", escape(strings.Join(o.env, ", ")))
		}
		b.WriteString("\n\n")
	}
}

// synopsis is the command line of a command.
func synopsis(program string, c *cli.Command) string {
	switch {
	case c.UsageText != "":
		return escape(c.UsageText)
	case c.ArgsUsage == "" && len(c.Flags) == 0:
		return escape(program + " " + c.Name)
	}
	return escape(strings.TrimSpace(program + " " + c.Name + " [OPTIONS] " + c.ArgsUsage))
}

// upper begins a sentence, unless it begins with the name of the program that is never written so.
func upper(s string) string {
	if strings.HasPrefix(s, "lxcfs") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// escape keeps characters from meaning something in Markdown.
func escape(s string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "|", `\|`, "\n", " ").Replace(s)
}
