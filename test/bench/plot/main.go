// Command plot draws the JSON output of bench (standard input) as SVG (standard output): the
// medians of reads without a pause, in runs on the same CPU and on two CPUs, and of reads after
// pauses of 200 ms. With -growth it draws the curves of test/bench/growth.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"image/color"
	"io"
	"os"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// cell has the fields of bench's cells that are drawn.
type cell struct {
	Part, File string
	Pause      time.Duration
	Results    map[string]result
}

type result struct{ P50 float64 }

// servers are drawn from top to bottom.
var servers = []struct {
	name  string
	color color.Color
}{
	{"ours", color.RGBA{0x1f, 0x77, 0xb4, 0xff}},
	{"rival", color.RGBA{0xff, 0x7f, 0x0e, 0xff}},
	{"minimal", color.RGBA{0x99, 0x99, 0x99, 0xff}},
}

const (
	barWidth      = 3 * vg.Millimeter
	pad           = 3 * vg.Millimeter
	width, height = 28 * vg.Centimeter, 11 * vg.Centimeter
)

func main() {
	growth := flag.Bool("growth", false, "draw the output of test/bench/growth")
	flag.Parse()
	plot.DefaultFont.Variant = "Sans"
	draw := run
	if *growth {
		draw = runGrowth
	}
	if err := draw(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var cells []cell
	if err := json.NewDecoder(in).Decode(&cells); err != nil {
		return err
	}
	var row []*plot.Plot
	for _, panel := range []struct {
		title, part string
		pause       time.Duration
	}{
		{"no pause", "reads", 0},
		{"pauses of 20 ms", "pauses", 20 * time.Millisecond},
		{"pauses of 200 ms", "pauses", 200 * time.Millisecond},
	} {
		drawn := slices.DeleteFunc(slices.Clone(cells), func(c cell) bool {
			return c.Part != panel.part || c.Pause != panel.pause
		})
		p, err := newPlot(panel.title, drawn)
		if err != nil {
			return err
		}
		row = append(row, p)
	}
	canvas := vgsvg.New(width, height)
	tiles := draw.Tiles{Rows: 1, Cols: len(row), PadX: vg.Centimeter, PadTop: pad, PadBottom: pad,
		PadLeft: 2 * pad, PadRight: 2 * pad}
	for i, c := range plot.Align([][]*plot.Plot{row}, tiles, draw.New(canvas))[0] {
		row[i].Draw(c)
	}
	_, err := canvas.WriteTo(out)
	return err
}

// newPlot returns a plot with a bar for each server and file.
func newPlot(title string, cells []cell) (*plot.Plot, error) {
	if len(cells) == 0 {
		return nil, fmt.Errorf("no results of %s", title)
	}
	slices.Reverse(cells) // the first is drawn at the bottom
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "median in µs"
	names := make([]string, len(cells))
	for i, c := range cells {
		names[i] = c.File
	}
	p.NominalY(names...)
	for i, s := range servers {
		var values plotter.Values
		for _, c := range cells {
			values = append(values, c.Results[s.name].P50)
		}
		bars, err := plotter.NewBarChart(values, barWidth)
		if err != nil {
			return nil, err
		}
		bars.Horizontal, bars.Color, bars.LineStyle.Width = true, s.color, 0
		bars.Offset = vg.Length(1-i) * barWidth
		p.Add(bars)
		p.Legend.Add(s.name, bars)
	}
	p.X.Max *= 1.3 // space for the legend
	return p, nil
}
