package top

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"palisade/internal/inject/engine"
)

var container = engine.Container{
	ID: strings.Repeat("0123456789abcdef", 4), Names: []string{"web"}, Engine: "docker",
	PID: 4711,
}

// rows returns the row of a container in testdata, one with large values, one without any, and one
// with a hostile name.
func rows(t testing.TB) []Row {
	t.Helper()
	first, second := readTestdata(t, "first"), readTestdata(t, "second")
	web := newRow(&container, &first, &second)
	return []Row{
		newRow(&engine.Container{ID: "gone", PID: 5, Engine: "runc"}, new(Values), new(Values)),
		web,
		{
			ID: "db", Names: []string{"db", "database.of.the.whole.company"}, PID: 4194303,
			CPUPercent: ptr(6399.96), Values: Values{CPUs: ptr(64),
				MemoryUsed: ptr[uint64](123 << 30), MemoryTotal: ptr[uint64](1536 << 30),
				SwapUsed: ptr[uint64](1000), SwapTotal: ptr[uint64](2000),
				Load: &[3]float64{63.9, 40, 10}, TasksRunning: ptr(60), Tasks: ptr(12345), Uptime: ptr(1e6)},
		},
		{
			ID:         "\x1b[2J\x1b]0;x\a evil\n",
			Names:      []string{"a b", "\u202e\u009b31m"},
			PID:        7,
			CPUPercent: ptr(0.04),
			Values:     Values{Uptime: ptr(59.9)},
		},
	}
}

// TestTable checks for one line per container without trailing blanks and control characters.
func TestTable(t *testing.T) {
	lines := Table(rows(t), 0)
	checkGolden(t, "table", lines)
	checkWords(t, lines)
	checkGolden(t, "narrow", Table(rows(t), maxNameOnScreen))
}

// checkWords checks that each line has one word for each column.
func checkWords(t *testing.T, lines []string) {
	t.Helper()
	for _, line := range lines {
		if words := strings.Fields(line); len(words) != len(columns) {
			t.Errorf("%d words in %q, want %d", len(words), line, len(columns))
		}
		if strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			t.Errorf("%q has what a terminal obeys", line)
		}
	}
}

func TestSort(t *testing.T) {
	for _, tt := range []struct {
		by   string
		want string
	}{
		{"cpu", "4194303 4711 7 5"},
		{"memory", "4194303 4711 5 7"},
		{"load", "4194303 4711 5 7"},
		{"name", "5 7 4194303 4711"},
	} {
		all := rows(t)
		slices.Reverse(all)
		Sort(all, tt.by)
		pid := slices.IndexFunc(columns, func(c column) bool { return c.title == "PID" })
		var pids []string
		for i := range all {
			pids = append(pids, columns[pid].cell(&all[i]))
		}
		if got := strings.Join(pids, " "); got != tt.want {
			t.Errorf("by %v: %s, want %s", tt.by, got, tt.want)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{sizeText(0), "0B"}, {sizeText(1023), "1023B"}, {sizeText(1024), "1.0K"}, {sizeText(102348), "99.9K"}, {sizeText(102400), "100K"},
		{sizeText(1 << 20), "1.0M"}, {sizeText(1<<64 - 1), "16.0E"},
		{uptimeText(0), "0s"}, {uptimeText(59.99), "59s"}, {uptimeText(60), "1m00s"}, {uptimeText(3599), "59m59s"}, {uptimeText(3600), "1h00m"},
		{uptimeText(86399), "23h59m"}, {uptimeText(86400), "1d00h"}, {uptimeText(86400 * 1000), "1000d00h"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

// TestJSON encodes unknown values as null.
func TestJSON(t *testing.T) {
	all := rows(t)
	text, err := json.Marshal(all[:2])
	if err != nil {
		t.Fatal(err)
	}
	unknown := `{"id":"gone","names":[],"engine":"runc","pid":5,"cpu_percent":null,"cpus":null,"memory_used_bytes":null,` +
		`"memory_total_bytes":null,"swap_used_bytes":null,"swap_total_bytes":null,"load":null,"tasks_running":null,"tasks":null,"uptime_seconds":null}`
	known := `"cpus":2,"memory_used_bytes":860160,"memory_total_bytes":100663296,"swap_used_bytes":0,"swap_total_bytes":0,` +
		`"load":[0.08,0.02,0.01],"tasks_running":1,"tasks":2,"uptime_seconds":6.05}]`
	if got := string(text); !strings.HasPrefix(got, "["+unknown) || !strings.HasSuffix(got, known) {
		t.Errorf("got %s", got)
	}
}
