package layers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

func TestParse(t *testing.T) {
	const layers = "lowerdir=/l1:/l2,upperdir=/c/upper,workdir=/c/work"
	for _, tt := range []struct {
		name, options, mount string
		want                 string // the options, or the error after !
	}{
		{"Docker", "rw," + layers + ",index=off,xino=off", "rw,relatime", "index=off,xino=off," + layers},
		{"SELinux without a context", "rw,seclabel," + layers, "rw", layers},
		{"volatile", "rw," + layers + ",volatile", "rw,nodev", "volatile," + layers},
		{"layers by themselves", `rw,lowerdir+=/a\072b,lowerdir+=/c\040d,upperdir=/u,workdir=/w`, "rw",
			`lowerdir=/a\:b:/c d,upperdir=/u,workdir=/w`},
		{"escaped", `rw,lowerdir=/a\134:b\134\054c,upperdir=/u,workdir=/w`, "rw",
			`lowerdir=/a\:b\,c,upperdir=/u,workdir=/w`},
		{"index", "rw," + layers + ",index=on", "rw", `!option "index=on"`},
		{"SELinux context", `rw,context="u:r:t:s0:c1,c2",` + layers, "rw", "!context="},
		{"read-only", "ro," + layers, "rw", `!option "ro"`},
		{"read-only mount", "rw," + layers, "ro", `!mount option "ro"`},
		{"no upper layer", "rw,lowerdir=/l1:/l2", "rw", "!0 upper"},
		{"data-only layers", "rw,lowerdir=/l1::/l2,upperdir=/u,workdir=/w", "rw", "!data-only"},
		{"data-only option", "rw,datadir+=/l3," + layers, "rw", "!datadir+"},
		{"colon in the upper layer", "rw,lowerdir=/l1,upperdir=/u:v,workdir=/w", "rw", "!colon"},
		{"too long", "rw,lowerdir=/" + strings.Repeat("l", os.Getpagesize()) + ",upperdir=/u,workdir=/w",
			"rw", "!bytes"},
		{"relative and missing", "rw,lowerdir=l/ONE,upperdir=/c/upper,workdir=/c/work", "rw", "!l/ONE"},
	} {
		o, err := parse(&mountinfo.Info{Mountpoint: "/c/merged", Options: tt.mount,
			VFSOptions: tt.options})
		reason, fails := strings.CutPrefix(tt.want, "!")
		switch {
		case fails && (err == nil || !strings.Contains(err.Error(), reason)):
			t.Errorf("%s: got error %v, want %q", tt.name, err, reason)
		case !fails && (err != nil || o.options != tt.want):
			t.Errorf("%s: got %+v %v, want %q", tt.name, o, err, tt.want)
		}
	}
}

// TestRelative checks the options that engines use if the paths of many layers are too long.
func TestRelative(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"overlay2/l/ONE", "overlay2/id/diff", "overlay2/id/merged",
		"snapshots/1/fs", "snapshots/2/fs", "rootfs/id", "fake/l/ONE", "fake/id"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "overlay2/id/work"), 0o755); err != nil {
		t.Fatal(err)
	}
	docker := "rw,lowerdir=l/ONE,upperdir=id/diff,workdir=id/work"
	containerd := "rw,lowerdir=1/fs,upperdir=" + dir + "/snapshots/2/fs,workdir=" + dir +
		"/snapshots/2/work"
	both := "rw,lowerdir=l/ONE,upperdir=" + dir + "/overlay2/id/diff,workdir=" + dir +
		"/overlay2/id/work"
	for _, tt := range []struct{ name, point, options, base, upper string }{
		{"Docker", "overlay2/id/merged", docker, "overlay2", "overlay2/id/diff"},
		{"containerd", "rootfs/id", containerd, "snapshots", "snapshots/2/fs"},
		{"two candidates", "fake/id/merged", both, "", ""},
		{"elsewhere", "rootfs/id", docker, "", ""},
	} {
		o, err := parse(&mountinfo.Info{Mountpoint: filepath.Join(dir, tt.point), Options: "rw",
			VFSOptions: tt.options})
		if tt.base == "" {
			if err == nil || !strings.Contains(err.Error(), "relative path l/ONE") {
				t.Errorf("%s: %+v %v", tt.name, o, err)
			}
			continue
		}
		if err != nil || o.base != filepath.Join(dir, tt.base) ||
			o.Upper != filepath.Join(dir, tt.upper) {
			t.Errorf("%s: %+v %v, want base %s", tt.name, o, err, tt.base)
		}
	}
}
