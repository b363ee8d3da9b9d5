package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"palisade/test/ctr"
)

// fact is a row of the table: a value in the text of a file.
type fact struct {
	name, path string
	extract    func(text string) string
}

var facts = []fact{
	{"processors", "/proc/cpuinfo", func(text string) string { return fmt.Sprint(strings.Count(text, "processor\t:")) }},
	{"physical id", "/proc/cpuinfo", all("physical id")},
	{"siblings", "/proc/cpuinfo", all("siblings")},
	{"core id", "/proc/cpuinfo", all("core id")},
	{"cpu cores", "/proc/cpuinfo", all("cpu cores")},
	{"CPUs online", "/sys/devices/system/cpu/online", strings.TrimSpace},
	{"MemTotal", "/proc/meminfo", all("MemTotal")},
	{"MemFree", "/proc/meminfo", all("MemFree")},
	{"MemAvailable", "/proc/meminfo", all("MemAvailable")},
	{"SwapTotal", "/proc/meminfo", all("SwapTotal")},
	{"uptime, idle", "/proc/uptime", strings.TrimSpace},
	{"CPU lines of stat", "/proc/stat", cpuLines},
	{"loadavg", "/proc/loadavg", strings.TrimSpace},
	{"disks", "/proc/diskstats", func(text string) string { return column(text, 2, 0) }},
	{"partitions", "/proc/partitions", func(text string) string { return column(text, 3, 2) }},
	{"ids of users", "/proc/1/uid_map", func(text string) string { return strings.Join(strings.Fields(text), " ") }},
}

// hostUID is the host's user id of a container's root.
var hostUID = fact{"its root, outside", "/proc/%d/status", func(text string) string { return strings.Fields(all("Uid")(text) + " ?")[0] }}

// compare prints the table: what processes in two containers read, and their user on the host.
func compare(ctx context.Context, without, with *ctr.Container) error {
	row := func(name, first, second string) { fmt.Printf("%-18s  %-40s  %s\n", name, first, second) }
	row("", "without", "with")
	fmt.Println(strings.Repeat("-", 90))
	for _, f := range facts {
		var cells []string
		for _, c := range []*ctr.Container{without, with} {
			text, err := c.Exec(ctx, "cat", f.path)
			if err != nil {
				return err
			}
			cells = append(cells, short(f.extract(text)))
		}
		row(f.name, cells[0], cells[1])
	}
	var cells []string
	for _, c := range []*ctr.Container{without, with} {
		text, err := os.ReadFile(fmt.Sprintf(hostUID.path, c.PID))
		if err != nil {
			return err
		}
		cells = append(cells, hostUID.extract(string(text)))
	}
	row(hostUID.name, cells[0], cells[1])
	return nil
}

// all returns a function that returns the values of a key in all lines.
func all(key string) func(string) string {
	return func(text string) string {
		var values []string
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
				values = append(values, strings.Join(strings.Fields(value), " "))
			}
		}
		return strings.Join(values, ", ")
	}
}

// cpuLines returns the name and the idle ticks of each CPU.
func cpuLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[0], "cpu") && fields[0] != "cpu" {
			lines = append(lines, fmt.Sprintf("%s idle %s", fields[0], fields[4]))
		}
	}
	return strings.Join(lines, ", ")
}

// column returns the words in a column, without the first skip lines.
func column(text string, number, skip int) string {
	var words []string
	for line := range strings.Lines(text) {
		if skip--; skip >= 0 {
			continue
		}
		if fields := strings.Fields(line); len(fields) > number {
			words = append(words, fields[number])
		}
	}
	return strings.Join(words, " ")
}

// short truncates a cell that is too long for the table.
func short(cell string) string {
	const width = 40
	if cell == "" {
		return "none"
	}
	if len(cell) > width {
		return cell[:width-3] + "..."
	}
	return cell
}
