package mounts

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// cpuTable returns a mount table with a sysfs and the lines.
func cpuTable(t *testing.T, lines ...string) *Table {
	t.Helper()
	lines = append([]string{"97 93 0:50 / /sys ro,nosuid,nodev,noexec - sysfs sysfs ro"}, lines...)
	table, err := ParseTable([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

const (
	online   = "121 97 0:39 /private/1/sys/devices/system/cpu/online /sys/devices/system/cpu/online rw - fuse.lxcfs lxcfs rw"
	cover    = "122 97 0:40 /private/2/sys/devices/system/cpu /sys/devices/system/cpu rw - fuse.lxcfs lxcfs rw"
	inCover  = "123 122 254:1 /x /sys/devices/system/cpu/kernel_max rw - ext4 /dev/vda1 rw"
	user     = "124 97 254:1 /x /sys/devices/system/cpu/online rw - ext4 /dev/vda1 rw"
	onOnline = "125 121 254:1 /x /sys/devices/system/cpu/online rw - ext4 /dev/vda1 rw"
	throttle = "126 97 0:60 / /sys/devices/system/cpu/cpu0/thermal_throttle ro - tmpfs tmpfs ro"
	topology = "127 97 0:60 / /sys/devices/system/cpu/cpu0/topology ro - tmpfs tmpfs ro"
)

// TestCPUDirTarget classifies mounts on and below the CPU directory.
func TestCPUDirTarget(t *testing.T) {
	src := &Source{}
	src.device.Minor = 40
	for _, tt := range []struct {
		name             string
		lines            []string
		virtual, foreign bool
		outdated         int
		files            []string
	}{
		{"nothing", nil, false, false, 0, nil},
		{"a single file", []string{online}, false, false, 1, []string{"/online"}},
		{"the directory", []string{cover}, true, false, 0, []string{""}},
		{"both", []string{online, cover}, true, false, 1, []string{""}},
		{"a user's mount in the directory", []string{cover, inCover}, true, false, 0, []string{""}},
		{"a user's mount", []string{user}, false, true, 0, nil},
		{"a user's mount on a single file", []string{online, onOnline}, false, true, 0, nil},
		{"a mask of a file that is not served", []string{throttle}, false, false, 0, nil},
		{"another mask", []string{throttle, topology}, false, true, 0, nil},
		{"a user's mount that is covered", []string{user, cover}, true, false, 0, []string{""}},
	} {
		v := &snapshot{mountNS: &MountNS{}, table: cpuTable(t, tt.lines...)}
		tg := target{path: CPUDir, mountStack: mountStack{base: v.table.byID[97], point: "/" + CPUDir}}
		tg.stack = v.table.stack(tg.base.ID, tg.point)
		v.classifyBelow(&tg)
		if virtual, foreign := v.state(&tg, src); virtual != tt.virtual || foreign != tt.foreign || len(tg.outdated) != tt.outdated {
			t.Errorf("%s: %v, %v and %d outdated, want %v, %v and %d",
				tt.name, virtual, foreign, len(tg.outdated), tt.virtual, tt.foreign, tt.outdated)
		}
		var want []string
		for _, name := range tt.files {
			want = append(want, path.Join("/"+CPUDir, name))
		}
		if got := paths(v.table.Files()); !slices.Equal(got, want) {
			t.Errorf("%s: files %q, want %q", tt.name, got, want)
		}
	}
}
