package main

import (
	"fmt"
	"slices"
)

// curve is a cost as a function of a number.
type curve struct {
	// Part is the name for the flag -only.
	Part, Title string
	// X says what is counted, Unit is that of the costs.
	X, Unit string
	Points  []*point
}

// point is the cost at one number. Costs are medians.
type point struct {
	X    int
	Cost float64
	// ServerCPU is the CPU time of the server for one operation in µs, or 0 if it was not measured.
	ServerCPU float64 `json:",omitempty"`

	costs, cpu []float64
}

// add adds a measurement to a curve of the part, which it creates if necessary.
func (b *bench) add(part *part, title string, x int, cost, serverCPU float64) {
	b.addIn(part.unit, part, title, x, cost, serverCPU)
}

// addIn adds a measurement in another unit than the part's.
func (b *bench) addIn(unit string, part *part, title string, x int, cost, serverCPU float64) {
	i := slices.IndexFunc(b.curves, func(c *curve) bool {
		return c.Part == part.name && c.Title == title
	})
	if i < 0 {
		i = len(b.curves)
		b.curves = append(b.curves, &curve{Part: part.name, Title: title, X: part.x, Unit: unit})
	}
	c := b.curves[i]
	i, ok := slices.BinarySearchFunc(c.Points, x, func(p *point, x int) int { return p.X - x })
	if !ok {
		c.Points = slices.Insert(c.Points, i, &point{X: x})
	}
	p := c.Points[i]
	p.costs, p.cpu = append(p.costs, cost), append(p.cpu, serverCPU)
	p.Cost, p.ServerCPU = median(p.costs), median(p.cpu)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// print prints the curves of a part as tables.
func (b *bench) print(part *part) {
	for _, c := range b.curves {
		if c.Part != part.name {
			continue
		}
		fmt.Printf("\n%s: %s\n\n| %10s | %10s | %6s | %13s | %6s |\n|%s\n", c.Part, c.Title, c.X, c.Unit,
			"ratio", "server CPU µs", "ratio", " --: | --: | --: | --: | --: |")
		first := c.Points[0]
		for _, p := range c.Points {
			cpu, cpuRatio := "-", "-"
			if first.ServerCPU > 0 {
				cpu, cpuRatio = number(p.ServerCPU), fmt.Sprintf("%.2f", p.ServerCPU/first.ServerCPU)
			}
			fmt.Printf("| %10d | %10s | %6.2f | %13s | %6s |\n", p.X, number(p.Cost), p.Cost/first.Cost, cpu,
				cpuRatio)
		}
	}
}

// number formats a cost with three digits or more.
func number(cost float64) string {
	switch {
	case cost < 1:
		return fmt.Sprintf("%.3f", cost)
	case cost < 100:
		return fmt.Sprintf("%.1f", cost)
	}
	return fmt.Sprintf("%.0f", cost)
}
