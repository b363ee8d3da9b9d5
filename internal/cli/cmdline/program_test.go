package cmdline_test

import (
	"io"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
)

// newTestProgram returns a program that records which command runs, its options and its operands.
func newTestProgram(got *string) *cmdline.Program {
	record := func(ctx *cli.Context) error {
		var words []string
		for _, name := range []string{"log", "json", "all", "jobs", "id", "o"} {
			if ctx.IsSet(name) {
				value := ctx.Generic(name).(interface{ String() string })
				words = append(words, name+"="+strings.Trim(value.String(), "[]"))
			}
		}
		*got = ctx.Command.Name + "(" + strings.Join(words, ",") + ")" +
			strings.Join(ctx.Args().Slice(), "|")
		return nil
	}
	flags := func() []cli.Flag {
		return []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}},
			&cli.StringFlag{Name: "id", Aliases: []string{"c"}},
			&cli.StringSliceFlag{Name: "o"},
		}
	}
	p := cmdline.NewProgram("program", "", "", io.Discard, nil,
		&cli.Command{Name: "do", Flags: flags(), Action: record},
		&cli.Command{Name: "wrap", Flags: flags(), Action: record},
	)
	p.Wrappers = []string{"wrap"}
	p.Flags = []cli.Flag{&cli.StringFlag{Name: "log"}, &cli.BoolFlag{Name: "json"}}
	return p
}

// TestOptionsAnywhere checks where options are taken, in which forms, and where they end.
func TestOptionsAnywhere(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"do", "do()"},
		{"do --all x y", "do(all=true)x|y"},
		{"do x --all y", "do(all=true)x|y"},
		{"do x y --all --jobs 3", "do(all=true,jobs=3)x|y"},
		{"do x --jobs=3", "do(jobs=3)x"},
		{"do x -jobs 3", "do(jobs=3)x"}, // one dash, as in Go's flag package
		{"do x -jobs=3", "do(jobs=3)x"},
		{"do x -j -3", "do(jobs=-3)x"},
		{"do x --jobs -3", "do(jobs=-3)x"},
		{"do --id --all x", "do(id=--all)x"},
		{"do --id -- x", "do(id=--)x"},
		{"do x --id=", "do(id=)x"},
		{"do x -ac id y", "do(all=true,id=id)x|y"},
		{"do x -cid y", "do(id=id)x|y"},
		{"do -acid x", "do(all=true,id=id)x"},
		{"do x -ofoo=bar", "do(o=foo=bar)x"},
		{"do -o a x -o b,c", "do(o=a b c)x"},
		{"do --id a -c b --id c", "do(id=c)"},
		{"do x --all=false", "do(all=false)x"},
		{"do x -a=false", "do(all=false)x"},
		{"do x -", "do()x|-"},
		{"do x -- --all", "do()x|--all"},
		{"do --all -- -- x", "do(all=true)--|x"},
		{"do x -- --jobs -- 3", "do()x|--jobs|--|3"},
		{"--all do x", "program: unknown option --all (program --help lists the options)"},
		{"--log f do x", "do(log=f)x"},
		{"do x --log f", "do(log=f)x"},
		{"do --log=f x --json --all", "do(log=f,json=true,all=true)x"},
		{"do do", "do()do"},
		{"do wrap --all", "do(all=true)wrap"},
		{"-- do --all", "do()--all"},
		{"wrap create --bundle /b -c x", "wrap()create|--bundle|/b|-c|x"},
		{"wrap --id i create --all -- x", "wrap(id=i)create|--all|--|x"},
		{"wrap --id i --log f -- --all create -- x", "wrap(log=f,id=i)--all|create|--|x"},
		{"fly --all", `program: command "fly" is unknown (program --help lists them)`},
		{"--json", "program: COMMAND is missing (program --help lists them)"},
		{"do x --fly", "program: unknown option --fly (program do --help lists the options)"},
		{"do x --al", "program: unknown option --al (program do --help lists the options)"},
		{"do -axc 1", "program: unknown option -x (program do --help lists the options)"},
		{"do x -5", "program: unknown option -5 (program do --help lists the options)"},
		{"do x --jobs", "program: option --jobs needs a value (program do --help lists the options)"},
		{"do x -aj", "program: option --jobs needs a value (program do --help lists the options)"},
		{"do x --=y", "program: unknown option -- (program do --help lists the options)"},
	} {
		got := ""
		err := newTestProgram(&got).Run(append([]string{"program"}, strings.Fields(tt.args)...))
		var text strings.Builder
		if code := cmdline.Report("program", err, &text); err != nil {
			got = strings.TrimSuffix(text.String(), "\n")
			if code != cmdline.ExitUsage {
				t.Errorf("%q: exit code %d, want %d", tt.args, code, cmdline.ExitUsage)
			}
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestDefaultCommand checks that the default command's options are known without its name.
func TestDefaultCommand(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "do()"},
		{"--all x", "do(all=true)x"},
		{"--log f x --all", "do(log=f,all=true)x"},
		{"--log=f do --all", "do(log=f,all=true)"},
		{"x do", "do()x|do"},
	} {
		got := ""
		p := newTestProgram(&got)
		p.DefaultCommand = "do"
		err := p.Run(append([]string{"program"}, strings.Fields(tt.args)...))
		if err != nil || got != tt.want {
			t.Errorf("%q: got %q, %v, want %q", tt.args, got, err, tt.want)
		}
	}
}

// TestAbbreviations checks that only the listed options may be abbreviated.
func TestAbbreviations(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--pid /x", "/x"},
		{"--p=/x", "/x"},
		{"--pidfile /x", "/x"},
		{"--enable", ""}, // two options, but of one group
		{"--e", ""},
		{"--di", "program: option --di is ambiguous: --disable-swap, --disable-zswap"},
		{"--other", ""},
		{"--oth", "program: unknown option --oth (program --help lists the options)"},
		{"--pidx=/x", "program: unknown option --pidx (program --help lists the options)"},
		{"--pid", "program: option --pidfile needs a value (program --help lists the options)"},
	} {
		got := ""
		action := func(ctx *cli.Context) error {
			got = ctx.String("pidfile")
			return nil
		}
		p := cmdline.NewProgram("program", "", "", io.Discard, action)
		p.Flags = []cli.Flag{&cli.StringFlag{Name: "pidfile"}}
		for _, name := range strings.Fields("enable-a enable-b disable-swap disable-zswap other") {
			p.Flags = append(p.Flags, &cli.BoolFlag{Name: name})
		}
		p.Abbreviable = [][]string{
			{"pidfile"}, {"enable-a", "enable-b"}, {"disable-swap"}, {"disable-zswap"},
		}
		if err := p.Run(append([]string{"program"}, strings.Fields(tt.args)...)); err != nil {
			got = "program: " + err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

// FuzzOptionsAnywhere checks that what follows "--" reaches the command as it is.
func FuzzOptionsAnywhere(f *testing.F) {
	f.Add("--all\x00--jobs\x003", "--all\x00--\x00-x")
	f.Add("x\x00-aoy", "")
	f.Add("\x00-\x00--=", "wrap")
	f.Fuzz(func(t *testing.T, before, after string) {
		got := ""
		args := append([]string{"program", "do"}, strings.Split(before, "\x00")...)
		operands := strings.Split(after, "\x00")
		err := newTestProgram(&got).Run(append(append(args, "--"), operands...))
		if err != nil || got == "" || strings.Contains(after, "|") {
			return // a mistake in the options, or --help
		}
		if want := strings.Join(operands, "|"); !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want the end %q", got, want)
		}
	})
}
