package procfs_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"palisade/internal/linux/procfs"
)

const afterCommand = " S 1 4242 4242 0 -1 4194560 1094 0 0 0 3 5 0 0 20 0 1 0 1234567 " +
	"3145728 450 18446744073709551615 0 0\n"

func TestParseTaskStat(t *testing.T) {
	sleeping := procfs.TaskStat{
		State: 'S', CPU: 80 * time.Millisecond, Start: 12345670 * time.Millisecond, HasExecuted: true,
	}
	forked := sleeping
	forked.HasExecuted = false
	tests := []struct {
		name, text string
		want       procfs.TaskStat
		ok         bool
	}{
		{"plain", "4242 (sleep)" + afterCommand, sleeping, true},
		{"a command with a blank", "1 (my init)" + afterCommand, sleeping, true},
		{"a command that looks like fields", "1 (a) R 0 0 (b)" + afterCommand,
			sleeping, true},
		{"a command with a newline", "1 (a\nb)" + afterCommand, sleeping, true},
		{"a runtime's copy of itself",
			"4242 (runc:[2:INIT])" + strings.Replace(afterCommand, "4194560", "4194624", 1),
			forked, true},
		{"empty", "", procfs.TaskStat{}, false},
		{"cut off", "4242 (sleep) S 1 4242", procfs.TaskStat{}, false},
		{"start above 64 bits",
			"1 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99999999999999999999 1 \n",
			procfs.TaskStat{}, false},
		{"CPU time that overflows",
			"1 (x) S 1 1 1 0 -1 0 0 0 0 0 461168601842738791 0 0 0 20 0 1 0 1 1 \n",
			procfs.TaskStat{}, false},
		{"start that overflows",
			"1 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 18446744073709551615 1 \n",
			procfs.TaskStat{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := procfs.ParseTaskStat([]byte(tt.text))
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseTaskCPU(t *testing.T) {
	const fields3To38 = " S 1 4242 4242 0 -1 4194560 94 0 0 0 3 5 0 0 20 0 1 0 1234567 5963776 450 " +
		"18446744073709551615 1 2 3 4 5 0 0 4096 536962595 0 0 0 17 "
	tests := []struct {
		name, text string
		want       int
		ok         bool
	}{
		{"plain", "4242 (sleep)" + fields3To38 + "13 0 0 0 0 0\n", 13, true},
		{"a command that looks like fields", "1 (a) R 0 0 (b)" + fields3To38 + "0 0\n", 0, true},
		{"negative", "1 (x)" + fields3To38 + "-1 0\n", 0, false},
		{"above 31 bits", "1 (x)" + fields3To38 + "2147483648 0\n", 0, false},
		{"cut off", "1 (x)" + fields3To38, 0, false},
		{"empty", "", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := procfs.ParseTaskCPU([]byte(tt.text))
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

func TestParseTaskStatus(t *testing.T) {
	tests := []struct {
		name, text string
		want       procfs.TaskStatus
		ok         bool
	}{
		{"a container's init", "Name:\tinit\nUmask:\t0022\nPPid:\t4200\nNSpid:\t4242\t1\n",
			procfs.TaskStatus{Parent: 4200, NSPids: []int{4242, 1}}, true},
		{"a newline in the name, which the kernel escapes",
			"Name:\ta\\nPPid:\\t7\nPPid:\t1\nNSpid:\t9\n",
			procfs.TaskStatus{Parent: 1, NSPids: []int{9}}, true},
		{"capabilities", "PPid:\t1\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000006\n",
			procfs.TaskStatus{Parent: 1, Capabilities: 6}, true},
		{"no capabilities", "CapEff:\tx\n", procfs.TaskStatus{}, false},
		{"before Linux 4.1", "PPid:\t1\n", procfs.TaskStatus{Parent: 1}, true},
		{"not a number", "PPid:\tx\n", procfs.TaskStatus{}, false},
		{"not a number in the list", "NSpid:\t1\tx\n", procfs.TaskStatus{}, false},
		{"empty", "", procfs.TaskStatus{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := procfs.ParseTaskStatus([]byte(tt.text))
			if !reflect.DeepEqual(got, tt.want) || (err == nil) != tt.ok {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func FuzzParseTaskStat(f *testing.F) {
	f.Add([]byte("4242 (sl) eep)" + afterCommand))
	f.Fuzz(func(t *testing.T, text []byte) {
		if stat, err := procfs.ParseTaskStat(text); err == nil && stat.Start < 0 {
			t.Errorf("start %v", stat.Start)
		}
		if cpu, err := procfs.ParseTaskCPU(text); err == nil && cpu < 0 {
			t.Errorf("CPU %d", cpu)
		}
	})
}

func FuzzParseTaskStatus(f *testing.F) {
	f.Add([]byte("Name:\tinit\nPPid:\t4200\nNSpid:\t4242\t1\n"))
	f.Fuzz(func(_ *testing.T, text []byte) { procfs.ParseTaskStatus(text) })
}
