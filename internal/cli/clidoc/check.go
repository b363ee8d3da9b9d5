package clidoc

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"palisade/internal/cli/golden"
)

// The part of a man page between these lines is generated. The rest is written by hand.
const (
	begin = "<!-- Generated from the program's definition: go test ./cmd/%s -update -->\n\n"
	end   = "\n<!-- End of the generated part. -->\n"
)

// Check compares the man page and the completions below a directory with the program, as golden
// files.
func (p Program) Check(t testing.TB, root string) {
	t.Helper()
	name := p.App.Name
	page := filepath.Join(root, "docs", "man", name+".8.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	first := fmt.Sprintf(begin, name)
	head, rest, ok := strings.Cut(string(text), first)
	_, tail, okTail := strings.Cut(rest, end)
	if !ok || !okTail {
		t.Fatalf("%s has no part for the options: %q", page, first)
	}
	options := strings.TrimRight(p.render(t, "man.tmpl"), "\n") + "\n"
	golden.Check(t, page, head+first+options+end+tail)
	golden.Check(t, filepath.Join(root, "completions", "bash", name), p.render(t, "bash.tmpl"))
	golden.Check(t, filepath.Join(root, "completions", "zsh", "_"+name), p.render(t, "zsh.tmpl"))
}

//go:embed *.tmpl
var templates embed.FS

func (p Program) render(t testing.TB, name string) string {
	t.Helper()
	var b strings.Builder
	all, err := template.New("").Funcs(functions).ParseFS(templates, name)
	if err == nil {
		err = all.ExecuteTemplate(&b, name, p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// specs returns the options in the language of _arguments, a line each.
func specs(indent string, s scope) string {
	var b strings.Builder
	for _, o := range s.All() {
		text := "[" + strings.NewReplacer("[", `\[`, "]", `\]`).Replace(o.Usage) + "]"
		if o.Value != "" {
			text += ":" + strings.ToLower(o.Value) + ":" + o.action()
		}
		exclusive := "(" + strings.Join(o.Names, " ") + ")"
		if o.Many {
			exclusive = "*"
		}
		for _, name := range o.Names {
			if o.Value != "" && strings.HasPrefix(name, "--") {
				name += "="
			}
			fmt.Fprintf(&b, "%s%s \\\n", indent, quote(exclusive+name+text))
		}
	}
	return b.String()
}

// action returns what zsh proposes for the value of an option.
func (o option) action() string {
	switch {
	case len(o.Words) > 0:
		return "(" + strings.Join(o.Words, " ") + ")"
	case o.Value == "DIR":
		return "_files -/"
	case o.Value == "FILE", o.Value == "PATH":
		return "_files"
	case o.Value == "PROGRAM":
		return "_command_names -e"
	}
	return " "
}

// quote quotes a word for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

var functions = template.FuncMap{
	"contains": strings.Contains,
	"join":     func(separator string, words []string) string { return strings.Join(words, separator) },
	"trim":     func(cutset, s string) string { return strings.Trim(s, cutset) },
	// escape escapes the characters with a meaning in Markdown.
	"escape": strings.NewReplacer("*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`,
		"|", `\|`, "\n", " ").Replace,
	"quote": quote,
	"specs": specs,
	// sentence begins with a capital letter, unless it begins with the name of lxcfs.
	"sentence": func(s string) string {
		if strings.HasPrefix(s, "lxcfs") {
			return s
		}
		return strings.ToUpper(s[:1]) + s[1:]
	},
}
