package clidoc

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// scope is the program itself, or a command.
type scope struct {
	name    string // "" for the program
	usage   string
	options []option
}

func (p Program) scopes() []scope {
	p.App.Setup()
	all := []scope{{options: options(p.App.Flags)}}
	for _, c := range p.App.Commands {
		if !c.Hidden && c.Name != "help" {
			all = append(all, scope{c.Name, c.Usage, options(withHelp(c.Flags))})
		}
	}
	return all
}

// withHelp adds the option that every command has.
func withHelp(flags []cli.Flag) []cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), "help") {
			return flags
		}
	}
	return append(slices.Clone(flags), cli.HelpFlag)
}

var noIdentifier = regexp.MustCompile(`[^a-z0-9_]`)

func (p Program) function() string { return "_" + noIdentifier.ReplaceAllString(p.App.Name, "_") }

// Bash is a completion for bash, which needs nothing but bash itself.
func (p Program) Bash() string {
	scopes := p.scopes()
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion for bash, made of the program's own definition: go test ./cmd/%s -update\n\n%s() {\n", p.App.Name, p.function())
	b.WriteString(`	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word i
	COMPREPLY=()
	# --option=value comes as three words.
	[ "$cur" = = ] && cur=
	[ "$prev" = = ] && prev=${COMP_WORDS[COMP_CWORD-2]}
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--) return ;;
`)
	if global := takingValues(scopes[0].options); len(global) > 0 {
		fmt.Fprintf(&b, "\t\t%s) [ \"${COMP_WORDS[i+1]}\" = = ] && ((i++)); ((i++)) ;;\n", strings.Join(global, "|"))
	}
	b.WriteString("\t\t-*) ;;\n\t\t*) command=${command:-$word} ;;\n\t\tesac\n\tdone\n")
	b.WriteString("\tcase $command:$prev in\n")
	for _, s := range scopes {
		p.writeValues(&b, s)
	}
	b.WriteString("\tesac\n\tcase $command in\n")
	for _, s := range scopes {
		var names []string
		for _, o := range s.options {
			names = append(names, o.names...)
		}
		fmt.Fprintf(&b, "\t%q) word='%s' ;;\n", s.name, strings.Join(names, " "))
	}
	b.WriteString("\t*) word= ;;\n\tesac\n\tcase $command:$cur in\n\t*:-*) COMPREPLY=($(compgen -W \"$word\" -- \"$cur\")) ;;\n")
	if len(scopes) > 1 {
		var names []string
		for _, s := range scopes[1:] {
			names = append(names, s.name)
		}
		fmt.Fprintf(&b, "\t:*) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", strings.Join(names, " "))
	}
	for _, s := range scopes[1:] {
		if words := p.Values[s.name]; len(words) > 0 {
			fmt.Fprintf(&b, "\t%s:*) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", s.name, strings.Join(words, " "))
		}
	}
	// Where there is no answer, bash proposes files.
	fmt.Fprintf(&b, "\tesac\n}\n\ncomplete -o bashdefault -o default -F %s %s\n", p.function(), strings.Join(append([]string{p.App.Name}, p.Aliases...), " "))
	return b.String()
}

func takingValues(list []option) (names []string) {
	for _, o := range list {
		if o.value != "" {
			names = append(names, o.names...)
		}
	}
	return names
}

// writeValues writes what may follow the options of a scope.
func (p Program) writeValues(b *strings.Builder, s scope) {
	for _, o := range s.options {
		if o.value == "" {
			continue
		}
		var patterns []string
		for _, name := range o.names {
			patterns = append(patterns, s.name+":"+name)
		}
		answer := "return" // bash proposes files
		switch words := p.Values[o.names[0]]; {
		case len(words) > 0:
			answer = fmt.Sprintf("COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return", strings.Join(words, " "))
		case o.value == "DIR":
			answer = `compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); return`
		case o.value == "PROGRAM" && o.names[0] == "--runtime":
			answer = `COMPREPLY=($(compgen -c -- "$cur")); return`
		}
		fmt.Fprintf(b, "\t%s) %s ;;\n", strings.Join(patterns, "|"), answer)
	}
}
