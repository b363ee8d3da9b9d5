package top

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
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
func readTestdata(t testing.TB, dir string) Look {
	t.Helper()
	all := testdata(t, dir)
	return parseLook(&all)
}

func ptr[T any](v T) *T { return &v }

func TestParseLook(t *testing.T) {
	first, second := readTestdata(t, "first"), readTestdata(t, "second")
	want := Look{
		CPU:    &CPUTime{CPUs: 2, Busy: 598},
		Memory: &Memory{Total: 98304 << 10, Available: 97464 << 10},
		Load:   &Load{Average: [3]float64{0.08, 0.02, 0.01}, Running: 1, Tasks: 2},
		Uptime: ptr(6050 * time.Millisecond),
	}
	if !reflect.DeepEqual(second, want) {
		t.Errorf("got %s, want %s", lookText(&second), lookText(&want))
	}
	// 597 of 601 hundredths of a second.
	if got := CPUPercent(&first, &second); got == nil || math.Abs(*got-99.33) > 0.01 {
		t.Errorf("%v%% CPU, want 99.33", show(got, twoDigits))
	}
	for name, before := range map[string]Look{
		"no look before": {}, "at the same time": second, "of another container": {CPU: &CPUTime{CPUs: 1, Busy: 1000}, Uptime: first.Uptime},
	} {
		if got := CPUPercent(&before, &second); got != nil {
			t.Errorf("%s: %v%% CPU", name, *got)
		}
	}
}

// lookText formats a Look with the values of its pointers.
func lookText(l *Look) string {
	text := ""
	value := reflect.ValueOf(*l)
	for i := range value.NumField() {
		if f := value.Field(i); !f.IsNil() {
			text += fmt.Sprintf("%s:%+v ", value.Type().Field(i).Name, f.Elem())
		}
	}
	return text
}

// TestParseOddTexts parses texts that lxcfs does not produce.
func TestParseOddTexts(t *testing.T) {
	for _, tt := range []struct {
		name string
		file int
		text string
		want Look
	}{
		{"stat of a host", statFile, "cpu  10 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 1\n", Look{CPU: &CPUTime{2, 81}}},
		{"stat of old kernels", statFile, "cpu 1 2 3 4\ncpu0 1 2 3 4\n", Look{CPU: &CPUTime{1, 6}}},
		{"stat that is cut off", statFile, "cpu 1 2 3 4\ncpu0 1 2 3 4\ncpu1 1 2", Look{CPU: &CPUTime{1, 6}}},
		{"stat without CPUs", statFile, "cpu 1 2 3 4\n", Look{}},
		{"stat without a sum", statFile, "cpu0 1 2 3 4\n", Look{}},
		{"stat without idle time", statFile, "cpu 1 2 3\ncpu0 1 2 3\n", Look{}},
		{"stat with rubbish", statFile, "cpu 1 2 x 4\ncpu0 1 2 3 4\n", Look{}},
		{"stat with a negative number", statFile, "cpu -1 2 3 4\ncpu0 1 2 3 4\n", Look{}},
		{"meminfo without anything", meminfoFile, "MemTotal: 4 kB\n", Look{Memory: &Memory{Total: 4096}}},
		{"meminfo without MemTotal", meminfoFile, "MemFree: 4 kB\n", Look{}},
		{"loadavg", loadavgFile, "10.00 0.5 123.45 3/4567 89\n", Look{Load: &Load{[3]float64{10, 0.5, 123.45}, 3, 4567}}},
		{"loadavg that is cut off", loadavgFile, "10.00 0.5 123.45", Look{}},
		{"loadavg with rubbish", loadavgFile, "NaN 0.5 123.45 3/4567 89\n", Look{}},
		{"loadavg without tasks", loadavgFile, "1 0.5 123.45 3 89\n", Look{}},
		{"loadavg with negative tasks", loadavgFile, "1 0.5 123.45 3/-4 89\n", Look{}},
		{"uptime", uptimeFile, "350735.47 234388.90\n", Look{Uptime: ptr(350735470 * time.Millisecond)}},
		{"uptime with rubbish", uptimeFile, "1e300 1\n", Look{}},
		{"uptime of a very old machine", uptimeFile, "99999999999999 1\n", Look{}},
		{"nothing", uptimeFile, "", Look{}},
	} {
		var all texts
		all[tt.file] = []byte(tt.text)
		if got := parseLook(&all); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, lookText(&got), lookText(&tt.want))
		}
	}
}

// FuzzParseLook formats tables of any texts.
func FuzzParseLook(f *testing.F) {
	for _, dir := range []string{"first", "second"} {
		all := testdata(f, dir)
		f.Add(all[0], all[1], all[2], all[3])
	}
	before := readTestdata(f, "first")
	f.Fuzz(func(t *testing.T, stat, meminfo, loadavg, uptime []byte) {
		now := parseLook(&texts{stat, meminfo, loadavg, uptime})
		row := newRow(&container, &before, &now)
		if got := CPUPercent(&before, &now); got != nil &&
			(*got < 0 || math.IsNaN(*got) || math.IsInf(*got, 0)) {
			t.Errorf("%v%% CPU", *got)
		}
		if m := row.MemoryUsed; m != nil && *m > *row.MemoryTotal {
			t.Errorf("%d bytes of %d are used", *m, *row.MemoryTotal)
		}
		checkWords(t, Table([]Row{row}, maxNameOnScreen))
	})
}
