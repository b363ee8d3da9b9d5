package top

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/engine"
)

type column struct {
	title string
	// left is set for text, which is aligned left.
	left bool
	cell func(r *Row) string
}

// columns has the most important columns first: a narrow terminal cuts off the others.
var columns = []column{
	{"CONTAINER", true, func(r *Row) string { return cmdline.Word(engine.ShortID(r.ID)) }},
	{"NAME", true, func(r *Row) string { return cmdline.Word(r.name()) }},
	{"CPU%", false, func(r *Row) string { return show(r.CPUPercent, oneDigit) }},
	{"CPUS", false, func(r *Row) string { return show(r.CPUs, strconv.Itoa) }},
	{"MEMORY", false, func(r *Row) string { return show(r.MemoryUsed, sizeText) }},
	{"LIMIT", false, func(r *Row) string { return show(r.MemoryTotal, sizeText) }},
	{"MEM%", false, func(r *Row) string { return show(memoryPercent(r), oneDigit) }},
	{"SWAP", false, func(r *Row) string { return show(r.SwapUsed, sizeText) }},
	{"LOAD", false, func(r *Row) string { return show(r.Load, load1) }},
	{"TASKS", false, func(r *Row) string { return show(r.Tasks, strconv.Itoa) }},
	{"UPTIME", false, func(r *Row) string { return show(r.Uptime, uptimeText) }},
	{"PID", false, func(r *Row) string { return strconv.Itoa(r.PID) }},
	{"ENGINE", true, func(r *Row) string { return cmdline.Word(r.Engine) }},
}

// Table returns the rows as lines of text, after a line of titles. It cuts off text cells that are
// longer than maxText, if that is not 0. Each cell is one word: "-" if it is empty.
func Table(rows []Row, maxText int) []string {
	lines := make([]string, len(rows)+1)
	for i, c := range columns {
		cells := []string{c.title}
		width := len(c.title)
		for j := range rows {
			cell := cmp.Or(c.cell(&rows[j]), "-")
			if c.left && maxText > 0 && len(cell) > maxText { // it is ASCII
				cell = cell[:maxText-1] + "~"
			}
			cells = append(cells, cell)
			width = max(width, len(cell))
		}
		if c.left {
			width = -width
		}
		for j, cell := range cells {
			if i > 0 {
				lines[j] += "  "
			}
			lines[j] += fmt.Sprintf("%*s", width, cell)
		}
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return lines
}

// show returns the text of a value, or "" if it is unknown.
func show[T any](value *T, text func(T) string) string {
	if value == nil {
		return ""
	}
	return text(*value)
}

func oneDigit(n float64) string  { return strconv.FormatFloat(n, 'f', 1, 64) }
func twoDigits(n float64) string { return strconv.FormatFloat(n, 'f', 2, 64) }

func load1(load [3]float64) string { return twoDigits(load[0]) }

func memoryPercent(r *Row) *float64 {
	if r.MemoryTotal == nil || *r.MemoryTotal == 0 {
		return nil
	}
	percent := 100 * float64(*r.MemoryUsed) / float64(*r.MemoryTotal)
	return &percent
}

// sizeText formats a number of bytes with two to four digits: 512B, 1.5K, 96.0M, 123G.
func sizeText(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10) + "B"
	}
	size, unit := float64(n), -1
	for size >= 1024 && unit < len(sizeUnits)-1 {
		size /= 1024
		unit++
	}
	if size >= 99.95 {
		return fmt.Sprintf("%.0f%c", size, sizeUnits[unit])
	}
	return fmt.Sprintf("%.1f%c", size, sizeUnits[unit])
}

const sizeUnits = "KMGTPE"

// uptimeText formats a time with its two largest units: 42s, 12m05s, 3h07m, 12d03h.
func uptimeText(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", minutes, int(d.Seconds())%60)
	case days == 0:
		return fmt.Sprintf("%dh%02dm", hours, minutes)
	}
	return fmt.Sprintf("%dd%02dh", days, hours)
}
