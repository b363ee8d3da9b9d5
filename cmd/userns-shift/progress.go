package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"palisade/internal/cli/cmdline"
	"palisade/internal/userns/shift"
)

// progressTo returns a function that shows the progress, nil for none, and one to call at the end.
func progressTo(w io.Writer, how string) (report func(shift.Progress), end func(), err error) {
	if how == "auto" {
		how = "none"
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			how = "bar"
		}
	}
	switch how {
	case "none":
		return nil, func() {}, nil
	case "json":
		encoder := json.NewEncoder(cmdline.SafeJSONWriter(w))
		// A closed stderr does not stop the change.
		return func(p shift.Progress) { encoder.Encode(p) }, func() {}, nil
	case "bar":
		b := &bar{w: w}
		return b.report, b.end, nil
	}
	return nil, nil, choose("progress", how, "auto", "bar", "json", "none")
}

type bar struct {
	w    io.Writer
	pass string
	*progressbar.ProgressBar
}

func (b *bar) report(p shift.Progress) {
	if b.pass != p.Pass {
		b.end()
		b.pass = p.Pass
		total := int64(p.Total)
		if total == 0 {
			total = -1 // unknown
		}
		b.ProgressBar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetDescription(p.Pass),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("files"),
			progressbar.OptionClearOnFinish())
	}
	b.Set64(int64(p.Done)) // a closed terminal does not stop the change
}

func (b *bar) end() {
	if b.ProgressBar != nil {
		b.Finish()
	}
}
