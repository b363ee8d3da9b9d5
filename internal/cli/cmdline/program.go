package cmdline

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Program is a cli.App that takes options anywhere before "--", as getopt_long(3) does. urfave/cli
// stops at the first operand.
type Program struct {
	*cli.App
	// Wrappers are the commands whose operands are the command line of another program: their own
	// options end at the first operand.
	Wrappers []string
	// Forwards are the commands whose arguments are all operands: another program parses them.
	Forwards []string
	// Abbreviable are the options that may be abbreviated. Options of one group have the same
	// effect, so an abbreviation of several of them is not ambiguous.
	Abbreviable [][]string
}

// Run is RunContext with the background context.
func (p *Program) Run(args []string) error { return p.RunContext(context.Background(), args) }

// RunContext runs the program. args[0] is its name, as in os.Args.
func (p *Program) RunContext(ctx context.Context, args []string) error {
	arranged, err := p.arrange(args)
	if err != nil {
		return err
	}
	return p.App.RunContext(ctx, arranged)
}

// arrange returns the command line in the order that urfave/cli needs: the program's options, the
// command, its options, "--", operands. Each option is written as --NAME or --NAME=VALUE.
func (p *Program) arrange(args []string) ([]string, error) {
	l := line{program: p, command: p.Command(p.DefaultCommand), rest: args[1:]}
	isExplicit, optionsEnd := false, false
	for len(l.rest) > 0 {
		arg := l.take()
		switch {
		case !optionsEnd && arg == "--":
			optionsEnd = true
		case !optionsEnd && len(arg) > 1 && arg[0] == '-':
			if err := l.option(arg); err != nil {
				return nil, err
			}
		case !isExplicit && p.Command(arg) != nil:
			l.command, isExplicit = p.Command(arg), true
			if slices.Contains(p.Forwards, arg) {
				l.operands, l.rest = l.rest, nil
			}
		default:
			l.operands = append(l.operands, arg)
			isUnknown := l.command == nil && len(p.Commands) > 0
			isWrapped := l.command != nil && slices.Contains(p.Wrappers, l.command.Name)
			optionsEnd = optionsEnd || isUnknown || isWrapped
			isExplicit = true
		}
	}
	arranged := append([]string{args[0]}, l.global...)
	if l.command != nil {
		arranged = append(append(arranged, l.command.Name), l.own...)
	}
	if len(l.operands) > 0 {
		arranged = append(append(arranged, "--"), l.operands...)
	}
	return arranged, nil
}

// line is a command line that is being parsed.
type line struct {
	program *Program
	// command is nil until one is found.
	command *cli.Command
	// global and own are the options of the program and of the command.
	global, own, operands []string
	// rest are the arguments that are not parsed yet.
	rest []string
}

func (l *line) take() string {
	arg := l.rest[0]
	l.rest = l.rest[1:]
	return arg
}

// option parses an option, or several short ones behind one dash. A long name may follow one dash,
// as in Go's flag package.
func (l *line) option(arg string) error {
	name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	flag, to := l.find(name)
	if flag == nil && strings.HasPrefix(arg, "--") {
		long, err := l.program.complete(name)
		if err != nil {
			return err
		}
		if flag, to = l.find(long); flag == nil {
			return l.unknown("--" + name)
		}
	}
	if flag != nil {
		return l.add(flag, to, value, hasValue)
	}
	for letters := arg[1:]; letters != ""; {
		flag, to := l.find(letters[:1])
		if flag == nil {
			return l.unknown("-" + letters[:1])
		}
		letters = letters[1:]
		if takesValue(flag) && letters != "" {
			return l.add(flag, to, letters, true)
		}
		if err := l.add(flag, to, "", false); err != nil {
			return err
		}
	}
	return nil
}

// add adds an option. If it needs a value and has none, that is the next argument.
func (l *line) add(flag cli.Flag, to *[]string, value string, hasValue bool) error {
	option := "--" + flag.Names()[0]
	if !hasValue && takesValue(flag) {
		if len(l.rest) == 0 {
			return Usagef("option %s needs a value (%s)", option, l.hint())
		}
		value, hasValue = l.take(), true
	}
	if hasValue {
		option += "=" + value
	}
	*to = append(*to, option)
	return nil
}

// find returns the option with the name, and the list to which it is added: the command's, else the
// program's.
func (l *line) find(name string) (flag cli.Flag, to *[]string) {
	isNamed := func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }
	if l.command != nil {
		own := append(slices.Clone(l.command.Flags), cli.HelpFlag)
		if i := slices.IndexFunc(own, isNamed); i >= 0 {
			return own[i], &l.own
		}
	}
	global := append(slices.Clone(l.program.Flags), cli.HelpFlag, cli.VersionFlag)
	if i := slices.IndexFunc(global, isNamed); i >= 0 {
		return global[i], &l.global
	}
	return nil, nil
}

func takesValue(flag cli.Flag) bool {
	f, ok := flag.(cli.DocGenerationFlag)
	return ok && f.TakesValue()
}

// complete returns the name of the option that prefix abbreviates, "" if there is none.
func (p *Program) complete(prefix string) (string, error) {
	var names []string
	found, groups := "", 0
	isOther := func(name string) bool { return !strings.HasPrefix(name, prefix) }
	for _, group := range p.Abbreviable {
		if matches := slices.DeleteFunc(slices.Clone(group), isOther); len(matches) > 0 {
			names = append(names, matches...)
			found = matches[0]
			groups++
		}
	}
	if groups > 1 {
		return "", Usagef("option --%s is ambiguous: --%s", prefix, strings.Join(names, ", --"))
	}
	return found, nil
}

func (l *line) unknown(option string) error {
	return Usagef("unknown option %s (%s)", option, l.hint())
}

// hint says where the options are listed.
func (l *line) hint() string {
	name := l.program.Name
	if l.command != nil {
		name += " " + l.command.Name
	}
	return name + " --help lists the options"
}
