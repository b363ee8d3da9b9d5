package clidoc

import (
	"fmt"
	"strings"
)

// Zsh is a completion for zsh.
func (p Program) Zsh() string {
	scopes := p.scopes()
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n# Completion for zsh, made of the program's own definition: go test ./cmd/%s -update\n\n",
		strings.Join(append([]string{p.App.Name}, p.Aliases...), " "), p.App.Name)
	fmt.Fprintf(&b, "%s() {\n\tlocal context state state_descr line\n\ttypeset -A opt_args\n\t_arguments -S -C \\\n", p.function())
	p.writeSpecs(&b, "\t\t", scopes[0].options)
	if len(scopes) == 1 {
		b.WriteString("\t\t'*:file:_files'\n")
	} else {
		p.writeCommands(&b, scopes[1:])
	}
	fmt.Fprintf(&b, "}\n\n%s \"$@\"\n", p.function())
	return b.String()
}

func (p Program) writeCommands(b *strings.Builder, commands []scope) {
	b.WriteString("\t\t'1:command:->command' \\\n\t\t'*::argument:->argument'\n\tcase $state in\n\tcommand)\n\t\tlocal -a commands=(\n")
	for _, s := range commands {
		fmt.Fprintf(b, "\t\t\t%s\n", quote(s.name+":"+s.usage))
	}
	b.WriteString("\t\t)\n\t\t_describe command commands\n\t\t;;\n\targument)\n\t\tcase $words[1] in\n")
	for _, s := range commands {
		fmt.Fprintf(b, "\t\t%s)\n\t\t\t_arguments -S \\\n", s.name)
		p.writeSpecs(b, "\t\t\t\t", s.options)
		argument := "'*:file:_files'"
		if words := p.Values[s.name]; len(words) > 0 {
			argument = fmt.Sprintf("'1:argument:(%s)'", strings.Join(words, " "))
		}
		fmt.Fprintf(b, "\t\t\t\t%s\n\t\t\t;;\n", argument)
	}
	b.WriteString("\t\tesac\n\t\t;;\n\tesac\n")
}

// writeSpecs writes options in the language of _arguments.
func (p Program) writeSpecs(b *strings.Builder, indent string, list []option) {
	for _, o := range list {
		text := "[" + strings.NewReplacer("[", `\[`, "]", `\]`).Replace(o.usage) + "]"
		if o.value != "" {
			text += ":" + strings.ToLower(o.value) + ":" + p.action(o)
		}
		exclusive := "(" + strings.Join(o.names, " ") + ")"
		if o.many {
			exclusive = "*"
		}
		for _, name := range o.names {
			if o.value != "" && strings.HasPrefix(name, "--") {
				name += "="
			}
			fmt.Fprintf(b, "%s%s \\\n", indent, quote(exclusive+name+text))
		}
	}
}

// action is what zsh proposes for the value of an option.
func (p Program) action(o option) string {
	switch words := p.Values[o.names[0]]; {
	case len(words) > 0:
		return "(" + strings.Join(words, " ") + ")"
	case o.value == "DIR":
		return "_files -/"
	case o.value == "FILE", o.value == "PATH":
		return "_files"
	case o.value == "PROGRAM":
		return "_command_names -e"
	}
	return " "
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
