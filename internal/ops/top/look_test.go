package top

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// testdata returns the files of a directory in testdata.
func testdata(t testing.TB, dir string) (all texts) {
	t.Helper()
	for i, file := range files {
		text, err := os.ReadFile(filepath.Join("testdata", dir, file))
		if err != nil {
			t.Fatal(err)
		}
		all[i] = text
	}
	return all
}

// readTestdata parses them.
func readTestdata(t testing.TB, dir string) Values {
	t.Helper()
	all := testdata(t, dir)
	return parse(&all)
}

func ptr[T any](v T) *T { return &v }

func TestParse(t *testing.T) {
	first, second := readTestdata(t, "first"), readTestdata(t, "second")
	want := Values{
		CPUs: ptr(2), busy: 598,
		MemoryUsed: ptr[uint64](840 << 10), MemoryTotal: ptr[uint64](98304 << 10),
		SwapUsed: ptr[uint64](0), SwapTotal: ptr[uint64](0),
		Load: &[3]float64{0.08, 0.02, 0.01}, TasksRunning: ptr(1), Tasks: ptr(2),
		Uptime: ptr(6.05),
	}
	if !reflect.DeepEqual(second, want) {
		t.Errorf("got %s, want %s", valuesText(&second), valuesText(&want))
	}
	// 597 of 601 hundredths of a second.
	if got := cpuPercent(&first, &second); got == nil || math.Abs(*got-99.33) > 0.01 {
		t.Errorf("%v%% CPU, want 99.33", show(got, twoDigits))
	}
	for name, before := range map[string]Values{
		"no look before": {}, "at the same time": second, "of another container": {CPUs: ptr(1), busy: 1000, Uptime: first.Uptime},
	} {
		if got := cpuPercent(&before, &second); got != nil {
			t.Errorf("%s: %v%% CPU", name, *got)
		}
	}
}

// valuesText formats values that are known.
func valuesText(v *Values) string {
	text, err := json.Marshal(v)
	return fmt.Sprint(string(text), " busy: ", v.busy, err)
}

// TestParseOddTexts parses texts that lxcfs does not produce.
func TestParseOddTexts(t *testing.T) {
	for _, tt := range []struct {
		name string
		file int
		text string
		want Values
	}{
		{"stat of a host", statFile, "cpu  10 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 1\n", Values{CPUs: ptr(2), busy: 81}},
		{"stat of old kernels", statFile, "cpu 1 2 3 4\ncpu0 1 2 3 4\n", Values{CPUs: ptr(1), busy: 6}},
		{"stat that is cut off", statFile, "cpu 1 2 3 4\ncpu0 1 2 3 4\ncpu1 1 2", Values{CPUs: ptr(1), busy: 6}},
		{"stat without CPUs", statFile, "cpu 1 2 3 4\n", Values{}},
		{"stat without a sum", statFile, "cpu0 1 2 3 4\n", Values{}},
		{"stat without idle time", statFile, "cpu 1 2 3\ncpu0 1 2 3\n", Values{}},
		{"stat with rubbish", statFile, "cpu 1 2 x 4\ncpu0 1 2 3 4\n", Values{}},
		{"stat with a negative number", statFile, "cpu -1 2 3 4\ncpu0 1 2 3 4\n", Values{}},
		{"meminfo without anything", meminfoFile, "MemTotal: 4 kB\n", Values{
			MemoryUsed: ptr[uint64](4096), MemoryTotal: ptr[uint64](4096), SwapUsed: ptr[uint64](0), SwapTotal: ptr[uint64](0)}},
		{"meminfo without MemTotal", meminfoFile, "MemFree: 4 kB\n", Values{}},
		{"loadavg", loadavgFile, "10.00 0.5 123.45 3/4567 89\n", Values{Load: &[3]float64{10, 0.5, 123.45}, TasksRunning: ptr(3), Tasks: ptr(4567)}},
		{"loadavg that is cut off", loadavgFile, "10.00 0.5 123.45", Values{}},
		{"loadavg with rubbish", loadavgFile, "NaN 0.5 123.45 3/4567 89\n", Values{}},
		{"loadavg without tasks", loadavgFile, "1 0.5 123.45 3 89\n", Values{}},
		{"loadavg with negative tasks", loadavgFile, "1 0.5 123.45 3/-4 89\n", Values{}},
		{"uptime", uptimeFile, "350735.47 234388.90\n", Values{Uptime: ptr(350735.47)}},
		{"uptime with rubbish", uptimeFile, "1e300 1\n", Values{}},
		{"uptime of a very old machine", uptimeFile, "99999999999999 1\n", Values{}},
		{"nothing", uptimeFile, "", Values{}},
	} {
		var all texts
		all[tt.file] = []byte(tt.text)
		if got := parse(&all); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, valuesText(&got), valuesText(&tt.want))
		}
	}
}

// FuzzParse formats tables of any texts.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"first", "second"} {
		all := testdata(f, dir)
		f.Add(all[0], all[1], all[2], all[3])
	}
	before := readTestdata(f, "first")
	f.Fuzz(func(t *testing.T, stat, meminfo, loadavg, uptime []byte) {
		now := parse(&texts{stat, meminfo, loadavg, uptime})
		row := newRow(&container, &before, &now)
		if got := cpuPercent(&before, &now); got != nil &&
			(*got < 0 || math.IsNaN(*got) || math.IsInf(*got, 0)) {
			t.Errorf("%v%% CPU", *got)
		}
		if m := row.MemoryUsed; m != nil && *m > *row.MemoryTotal {
			t.Errorf("%d bytes of %d are used", *m, *row.MemoryTotal)
		}
		checkWords(t, Table([]Row{row}, maxNameOnScreen))
	})
}
