//go:build integration

package packages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRPMObsoletes checks that the packages replace those that they obsolete, and that their units
// keep the state of the old units.
func TestRPMObsoletes(t *testing.T) {
	dir := t.TempDir()
	run(t, "sh", "testdata/obsolete.sh", dir)
	old := files(t, dir, "RPMS/noarch/*.rpm", 3)
	for _, tt := range []struct {
		name string
		// units has the states of the old units, want those of ours.
		units, want []string
	}{
		{"used", []string{"lxcfs.service.enabled", "lxcfs.service.active", "authz.service.enabled", "authz.service.active"},
			[]string{"authz-broker.service.active", "authz-broker.service.enabled", "lxcfs.service.active", "lxcfs.service.enabled"}},
		{"enabled", []string{"lxcfs.service.enabled", "authz.service.enabled"}, []string{"authz-broker.service.enabled", "lxcfs.service.enabled"}},
		{"started by hand", []string{"lxcfs.service.active"}, []string{"lxcfs.service.active"}},
		{"not used", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRPMRoot(t)
			r.rpm(t, append([]string{"-i"}, old...)...)
			for _, state := range tt.units {
				write(t, filepath.Join(r.root, "units", state), "", 0o644)
			}
			r.rpm(t, append([]string{"-U"}, binaryRPMs(t, shared.first)...)...)
			got := strings.Fields(r.rpm(t, "-qa", "--qf", "%{NAME} "))
			if slices.Sort(got); strings.Join(got, " ") != "base palisade-authz-broker palisade-lxc palisade-lxcfs palisade-lxcfs-toolkit palisade-nri palisade-tools palisade-userns-shift" {
				t.Errorf("got packages %q", got)
			}
			if got := names(t, filepath.Join(r.root, "units")); !slices.Equal(got, tt.want) {
				t.Errorf("got units %q, want %q", got, tt.want)
			}
			if got := names(t, filepath.Join(r.root, "run")); len(got) > 0 {
				t.Errorf("left in /run: %q", got)
			}
			if _, err := os.Stat(filepath.Join(r.root, "usr/bin/lxcfs-tools")); err != nil {
				t.Error(err)
			}
			if unit := read(t, filepath.Join(r.root, "usr/lib/systemd/system/lxcfs.service")); !strings.Contains(unit, "lxcfs-toolkit") {
				t.Errorf("the unit is not ours: %q", unit)
			}
		})
	}
}

// names returns the names of the files in a directory.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
