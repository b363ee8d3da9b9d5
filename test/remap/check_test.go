//go:build integration

package remap

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestCheckIsRight checks that check reports the directories above a root file system, and offsets,
// with which runc fails to start the container.
func TestCheckIsRight(t *testing.T) {
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" +
		"\x02\x00\x01\x00\xa0\x86\x01\x00" +
		// u:100000:x
		"\x04\x00\x00\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" +
		"\x20\x00\x00\x00\xff\xff\xff\xff"
	for _, tt := range []struct {
		name   string
		mode   os.FileMode
		gid    int
		acl    string
		offset string
		want   string // part of the output of check, "" for none
	}{
		{"0755", 0o755, 0, "", "65535", ""},
		{"0711", 0o711, 0, "", "65535", ""},
		{"0700", 0o700, 0, "", "65535", "may not search"},
		{"0744", 0o744, 0, "", "65535", "may not search"},
		{"0710 of the container's group", 0o710, firstID, "", "65535", ""},
		{"0701 of the container's group", 0o701, firstID, "", "65535", "may not search"},
		{"an access control list", 0o700, 0, acl, "65535", ""},
		{"too small for devpts", 0o755, 0, "", "4", "an offset of at least 6"},
		{"large enough for devpts", 0o755, 0, "", "6", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := filepath.Join(openDir(t), "parent")
			rootfs := filepath.Join(parent, "rootfs")
			if err := os.Mkdir(parent, 0o755); err != nil {
				t.Fatal(err)
			}
			newRootfs(t, rootfs)
			addMountPoints(t, rootfs)
			b := newBundle(t, "id -u", func(s *specs.Spec) {
				withUserNamespace(s)
				s.Root.Path = rootfs
				s.Linux.UIDMappings[0].Size = map[string]uint32{"65535": 65535, "4": 4, "6": 6}[tt.offset]
				s.Linux.GIDMappings = s.Linux.UIDMappings
			})
			must(t, "shift", "--user-remap", "100000:100000:"+tt.offset, rootfs)
			if err := os.Chown(parent, 0, tt.gid); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(parent, tt.mode); err != nil {
				t.Fatal(err)
			}
			if tt.acl != "" {
				if err := syscall.Setxattr(parent, "system.posix_acl_access", []byte(tt.acl), 0); err != nil {
					t.Fatal(err)
				}
			}
			checked := shift(t, "check", "--user-remap", "100000:100000:"+tt.offset, rootfs)
			started := runRuntime(t, "runc", "run", "-b", b.dir, b.id)
			if (started.Code == 0) != (checked.Code == 0) || (tt.want == "") != (checked.Code == 0) ||
				!strings.Contains(checked.Stdout, tt.want) {
				t.Errorf("check: %+v\nrunc: %+v", checked, started)
			}
		})
	}
}

// TestCheckIsulad checks that check reports the directories above lcr's containers, which isulad
// creates with mode 0750.
func TestCheckIsulad(t *testing.T) {
	graph := filepath.Join(openDir(t), "isulad")
	lcr := filepath.Join(graph, "engines/lcr")
	if err := os.MkdirAll(lcr, 0o750); err != nil {
		t.Fatal(err)
	}
	b := newBundle(t, "", nil)
	args := []string{"check", "--engine", "isulad", "--graph", graph, "--user-remap", remap100000,
		b.rootfs}
	r := shift(t, args...)
	for _, dir := range []string{graph, filepath.Dir(lcr), lcr} {
		if r.Code != 1 || !strings.Contains(r.Stdout, "may not search "+dir+" (mode 0750)") ||
			!strings.Contains(r.Stdout, "chmod o+x "+dir+"\n") {
			t.Errorf("%s is not reported: %+v", dir, r)
		}
		if err := os.Chmod(dir, 0o751); err != nil {
			t.Fatal(err)
		}
	}
	if r := shift(t, args...); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	if r := shift(t, "check", "--engine", "docker", "--user-remap", remap100000,
		b.rootfs); r.Code != 2 || !strings.Contains(r.Stderr, `--engine "docker" is not isulad`) {
		t.Errorf("%+v", r)
	}
}
