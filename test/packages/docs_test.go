//go:build integration

package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	optionName  = regexp.MustCompile(`--?[a-z][a-z-]*`)
	commandName = regexp.MustCompile(`(?m)^   ([a-z][a-z-]+)  +\S`)
)

// TestManPages checks that the installed man pages have the options and commands of --help.
func TestManPages(t *testing.T) {
	r := newRPMRoot(t)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	for _, program := range programs {
		page := run(t, "gzip", "-cd", filepath.Join(r.root, "usr/share/man/man8", program+".8.gz"))
		page = strings.NewReplacer(`\-`, "-", `\&`, "").Replace(page)
		if !strings.HasPrefix(page, ".nh\n.TH "+strings.ToUpper(program)+" 8 ") {
			t.Errorf("%s: the page begins with %.60q", program, page)
		}
		help := run(t, "chroot", r.root, "/usr/bin/"+program, "--help")
		checkOptions(t, program, page, help)
		_, list, _ := strings.Cut(help, "COMMANDS:\n")
		list, _, _ = strings.Cut(list, "GLOBAL OPTIONS:")
		commands := commandName.FindAllStringSubmatch(list, -1)
		if program != "lxcfs" && program != "palisade-nri" && len(commands) < 3 {
			t.Errorf("%s: got only commands %q", program, commands)
		}
		for _, command := range commands {
			_, part, ok := strings.Cut(page, "\n.SS "+program+" "+command[1])
			if _, again, found := strings.Cut(page, "] "+command[1]+" "); !ok && found {
				part, ok = again, true
			}
			if !ok {
				t.Errorf("%s %s is not in the man page", program, command[1])
				continue
			}
			part, _, _ = strings.Cut(part, "\n.SS ")
			if program == "lxcfs-toolkit" && (command[1] == "top" || command[1] == "doctor") {
				continue // documented in the page of palisade
			}
			checkOptions(t, program+" "+command[1], part, run(t, "chroot", r.root, "/usr/bin/"+program, command[1], "--help"))
		}
	}
}

// TestInstalledPages checks that each package has all documents, without dead links if it is the
// only one installed.
func TestInstalledPages(t *testing.T) {
	r := newRPMRoot(t)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	const list = `cd "$1" && ls *.md docs/*.md docs/engines/*.md`
	want := run(t, "sh", "-ec", list, "sh", repository)
	for _, program := range programs {
		dir := filepath.Join(r.root, "usr/share/doc/"+packageOf(program))
		if pages := run(t, "sh", "-ec", list, "sh", dir); pages != want {
			t.Errorf("%s has the pages %s, want %s", program, pages, want)
		}
		run(t, "../links.sh", dir)
	}
}

// checkOptions checks that a man page has the options in the output of --help.
func checkOptions(t *testing.T, of, page, help string) {
	t.Helper()
	_, list, ok := strings.Cut(help, "OPTIONS:\n")
	if !ok {
		t.Errorf("%s --help lists no options: %s", of, help)
	}
	for line := range strings.Lines(list) {
		names, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		for _, name := range optionName.FindAllString(names, -1) {
			// The page describes --help once, for the program.
			if name != "--help" && name != "-h" && !strings.Contains(page, `\fB`+name+`\fP`) {
				t.Errorf("%s: %s is not in the man page", of, name)
			}
		}
	}
}

// TestBashCompletion checks completions of bash.
func TestBashCompletion(t *testing.T) {
	const script = `source "$1"; shift; name=$1; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
spec=($(complete -p "$name")); "${spec[-2]}" "$name" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\n' "${COMPREPLY[@]}"`
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "found"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ words, want string }{
		{"lxcfs-toolkit re", "remount"},
		{"lxcfs-tools u", "umount upgrade"},
		{"lxcfs-toolkit --log /x --log-level = de", "debug"},
		{"lxcfs-toolkit --log-level d", "debug"},
		{"lxcfs-toolkit --log-format ", "text json"},
		{"lxcfs-toolkit --mountpoint " + dir + "/f", dir + "/found"},
		{"lxcfs-toolkit --log=/x remount --a", "--all"},
		{"lxcfs-toolkit --log /x remount --c", "--container-id"},
		{"lxcfs-toolkit hook-spec p", "podman"},
		{"lxcfs-toolkit runtime -- --", ""},
		{"lxcfs-toolkit none --", ""},
		{"palisade d", "doctor"},
		{"palisade doctor --engine i", "incus isulad"},
		{"lxcfs --disable-s", "--disable-swap"},
		{"lxcfs --log-level w", "warn"},
		{"userns-shift shift --unmapped ", "fail keep squash="},
		{"userns-shift un", "unshift"},
		{"userns-shift hook-spec n", "nri"},
		{"authz-broker explain --engine i", "isulad"},
		{"authz-broker --audit s", "stdout syslog"},
		{"authz-broker --policy-file /x ch", "check"},
	} {
		words := strings.Split(c.words, " ")
		program := strings.Replace(words[0], "lxcfs-tools", "lxcfs-toolkit", 1)
		args := append([]string{"--norc", "-c", script, "bash", repository + "/completions/bash/" + program}, words...)
		out, err := exec.Command("bash", args...).CombinedOutput()
		if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != c.want {
			t.Errorf("%q completes to %q, want %q (%v)", c.words, got, c.want, err)
		}
	}
}

// zshScript types a line into another zsh, and prints its list of choices when it has all the words
// wanted, or after a timeout. It asks for a list because a single match would be inserted.
const zshScript = `zmodload zsh/zpty; zpty z zsh -f -i
zpty -w z "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -d $2; zstyle ':completion:*' list-grouped false; setopt zle; unsetopt list_beep
TERM=dumb; stty -echo columns 500; LISTMAX=1000; bindkey '^D' list-choices; print -r -- rea''dy"
local line all=; repeat 200; do zpty -r -t z line || { sleep 0.05; continue }; all+=$line; [[ $all == *ready* ]] && break; done
[[ $all == *ready* ]] || { print -r -- "zsh does not start: $all"; exit 1 }
zpty -n -w z "$3"$'\C-d'
all=; repeat 600; do
	while zpty -r -t z line; do all+=$line; done
	for word in ${@:4}; do [[ $all == *$word* ]] || break; done && [[ $all == *$word* ]] && break
	sleep 0.05
done; zpty -d z; print -r -- $all`

// TestZshCompletion checks completions of zsh.
func TestZshCompletion(t *testing.T) {
	dir, err := filepath.Abs(repository + "/completions/zsh")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want []string
	}{
		{"lxcfs-toolkit ", []string{"remount", "umount", "check-lxcfs", "-- print the configuration that makes an engine run the hook"}},
		{"lxcfs-toolkit remount --", []string{"--all", "--container-id", "--timeout"}},
		{"lxcfs-toolkit --log-level ", []string{"debug", "info", "warn", "error"}},
		{"lxcfs --disable-", []string{"--disable-swap", "--disable-cfs", "--disable-loadavg"}},
		{"userns-shift hook-spec ", []string{"containerd", "nri"}},
		{"authz-broker explain --engine ", []string{"docker", "isulad"}},
	} {
		args := append([]string{"-f", "-c", zshScript, "zsh", dir, filepath.Join(t.TempDir(), "dump"), c.line}, c.want...)
		out, err := exec.Command("zsh", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		missing := slices.DeleteFunc(slices.Clone(c.want), func(word string) bool { return strings.Contains(string(out), word) })
		if len(missing) > 0 {
			t.Errorf("%q: got choices %q, without %q", c.line, out, missing)
		}
	}
}
