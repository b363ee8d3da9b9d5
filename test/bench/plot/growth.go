package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// curve has the fields of the curves of test/bench/growth.
type curve struct {
	Part, Title, X string
	Points         []struct {
		X    int
		Cost float64
	}
}

const (
	columns                 = 2
	panelWidth, panelHeight = 16 * vg.Centimeter, 10 * vg.Centimeter
)

// runGrowth draws a panel for each part, with the costs relative to those of the first points. Both
// axes are logarithmic.
func runGrowth(in io.Reader, out io.Writer) error {
	var curves []curve
	if err := json.NewDecoder(in).Decode(&curves); err != nil {
		return err
	}
	var parts []string
	panels := [][]*plot.Plot{nil}
	for _, c := range curves {
		if slices.Contains(parts, c.Part) {
			continue
		}
		parts = append(parts, c.Part)
		p, err := newPanel(c, curves)
		if err != nil {
			return err
		}
		if last := len(panels) - 1; len(panels[last]) < columns {
			panels[last] = append(panels[last], p)
		} else {
			panels = append(panels, []*plot.Plot{p})
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("no curves")
	}
	for len(panels[len(panels)-1]) < columns {
		empty := plot.New()
		empty.HideAxes()
		panels[len(panels)-1] = append(panels[len(panels)-1], empty)
	}
	rows := len(panels)
	canvas := vgsvg.New(columns*panelWidth, vg.Length(rows)*panelHeight)
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Centimeter, PadY: vg.Centimeter,
		PadTop: pad, PadBottom: pad, PadLeft: 2 * pad, PadRight: 2 * pad}
	for i, row := range plot.Align(panels, tiles, draw.New(canvas)) {
		for j, c := range row {
			panels[i][j].Draw(c)
		}
	}
	_, err := canvas.WriteTo(out)
	return err
}

// newPanel returns a panel with the curves of the part of first.
func newPanel(first curve, curves []curve) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = first.Part
	p.X.Label.Text, p.Y.Label.Text = first.X, "cost, relative to the first point"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	n := 0
	for _, c := range curves {
		if c.Part != first.Part {
			continue
		}
		points := make(plotter.XYs, len(c.Points))
		for i, at := range c.Points {
			points[i] = plotter.XY{X: float64(at.X), Y: at.Cost / c.Points[0].Cost}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("draw %s of %s: %w", c.Title, c.Part, err)
		}
		line.Color, dots.Color = plotutil.Color(n), plotutil.Color(n)
		dots.Shape = plotutil.Shape(n)
		p.Add(line, dots)
		p.Legend.Add(c.Title, line, dots)
		n++
	}
	p.Y.Min = min(p.Y.Min, 0.5)
	p.Y.Max = max(p.Y.Max*float64(1+n), 10) // space for the legend
	return p, nil
}
