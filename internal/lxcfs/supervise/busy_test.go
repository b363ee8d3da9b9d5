package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"palisade/internal/linux/sys"
)

// TestBusyHost checks workers that give no sign of life, on hosts with and without other load.
func TestBusyHost(t *testing.T) {
	const ms = time.Millisecond
	const checks = int(probeTime / checkInterval)
	sleeping := func(int) []threadTimes { return []threadTimes{{1, false, 0}, {2, false, 90 * ms}} }
	for _, tt := range []struct {
		name    string
		threads func(check int) []threadTimes
		min     int // checks after which it is killed, at least
		max     int // and at most, 0 if it is not
	}{
		{"it is blocked", sleeping, checks, checks},
		{"it has ended", func(int) []threadTimes { return nil }, checks, checks},
		{"it spins", func(check int) []threadTimes {
			return []threadTimes{{1, false, 0}, {2, true, time.Duration(check) * checkInterval}}
		}, checks, checks + 1},
		{"it spins with an eighth of a CPU", func(check int) []threadTimes {
			return []threadTimes{{1, true, time.Duration(check) * checkInterval / 8}}
		}, 4 * checks, 8*checks + 1},
		{"many threads spin on one CPU", func(check int) []threadTimes {
			var threads []threadTimes
			for tid := range 50 {
				threads = append(threads, threadTimes{tid, true, time.Duration(check) * 10 * ms})
			}
			return threads
		}, checks, checks + 1},
		{"it gets no CPU", func(int) []threadTimes {
			return []threadTimes{{1, false, 0}, {2, true, 90 * ms}}
		}, 0, 0},
		{"it gets hardly any", func(check int) []threadTimes {
			return []threadTimes{{1, true, time.Duration(check/10) * 10 * ms}}
		}, 0, 0},
		{"it gets none for a while, and then is blocked", func(check int) []threadTimes {
			if check <= 10 {
				return []threadTimes{{1, true, 0}}
			}
			return sleeping(check)
		}, 10 + checks, 10 + checks},
		{"threads come and go", func(check int) []threadTimes {
			return []threadTimes{{check, true, 0}}
		}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSupervisor()
			w, _ := newProcess(t)
			w.ready, w.serving, w.answersPing = true, true, true
			s.current = w
			check := 0
			s.threads = func(int) []threadTimes { return tt.threads(check) }
			for check = 1; check <= 100 && w.killed.IsZero(); check++ {
				s.watch()
			}
			if check--; w.killed.IsZero() != (tt.max == 0) || tt.max > 0 && (check < tt.min || check > tt.max) {
				t.Errorf("it is killed: %v, after %d checks; want %d to %d", !w.killed.IsZero(), check, tt.min, tt.max)
			}
		})
	}
}

// TestSlowStart starts a worker that gets no CPU, and then is blocked.
func TestSlowStart(t *testing.T) {
	s := newSupervisor()
	w, _ := newProcess(t)
	s.current = w
	isBusy := true
	s.threads = func(int) []threadTimes { return []threadTimes{{w.Pid, isBusy, 0}} }
	for range 10 * startTime / checkInterval {
		s.watch()
	}
	if !w.killed.IsZero() {
		t.Error("it is killed, though it gets no CPU")
	}
	isBusy = false
	for range startTime/checkInterval + 1 {
		s.watch()
	}
	if w.killed.IsZero() {
		t.Error("it is not killed, though it is blocked")
	}
}

// TestReadThreads reads texts of Linux 6.18.
func TestReadThreads(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"7/task/7/stat": "7 (lxcfs-worker) S 1 1 1 0 -1 4194304 94 0 0 0 3 5 0 0 20 0 3 0 56 3145728 450 0\n",
		"7/task/8/stat": "8 (lxcfs ) R (x) R 1 1 1 0 -1 4194304 9 0 0 0 120 7 0 0 20 0 3 0 57 3145728 450 0\n",
		"7/task/9/stat": "", // it has ended
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	proc, err := sys.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	got := map[string]bool{}
	for _, thread := range readThreads(proc, 7) {
		got[fmt.Sprint(thread)] = true
	}
	if want := map[string]bool{"{7 false 80000000}": true, "{8 true 1270000000}": true}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := readThreads(proc, 5); got != nil {
		t.Errorf("of a process that is gone: %v", got)
	}
}
