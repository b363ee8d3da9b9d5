package cgroup

import (
	"strings"
	"testing"

	"palisade/internal/linux/cpulist"
)

func TestDetect(t *testing.T) {
	tests := []struct {
		name, mounts string
		v2           bool
		dirs         map[string]string // directory of the cgroup /a/b
		ok           bool
	}{
		{"v2", v2Mount, true, map[string]string{
			"memory": "/sys/fs/cgroup/a/b", "cpuacct": "/sys/fs/cgroup/a/b",
		}, true},
		{"v1", allV1, false, map[string]string{
			"memory":  "/sys/fs/cgroup/memory/a/b",
			"cpu":     "/sys/fs/cgroup/cpu,cpuacct/a/b",
			"cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a/b",
			"blkio":   "/sys/fs/cgroup/blkio/a/b",
			"hugetlb": "",
		}, true},
		{"hybrid: v1 has precedence", allV1 + hybrid, true, map[string]string{
			"memory": "/sys/fs/cgroup/memory/a/b", "hugetlb": "/sys/fs/cgroup/unified/a/b",
		}, true},
		{"a hierarchy for each controller", testdata(t, "v1-6.18/mountinfo"), true, map[string]string{
			"cpu": "/sys/fs/cgroup/cpu/a/b", "cpuacct": "/sys/fs/cgroup/cpuacct/a/b",
			"hugetlb": "/sys/fs/cgroup/unified/a/b",
		}, true},
		{"mount of a part without the cgroup", "1 0 0:1 /a/c /m rw - cgroup2 cgroup2 rw\n",
			true, map[string]string{"cpu": ""}, true},
		{"mount of a part with the cgroup", "1 0 0:1 /a /m rw - cgroup2 cgroup2 rw\n",
			true, map[string]string{"cpu": "/m/b"}, true},
		{"mounts of a part and of all", "1 0 0:1 /a /m rw - cgroup2 cgroup2 rw\n" +
			"2 0 0:1 / /n rw - cgroup2 cgroup2 rw\n",
			true, map[string]string{"cpu": "/n/a/b"}, true},
		{"mount point with a blank", "1 0 0:1 / /m\\040n rw - cgroup2 cgroup2 rw\n",
			true, map[string]string{"cpu": "/m n/a/b"}, true},
		{"no hierarchy", "1 0 0:1 / / rw - ext4 /dev/vda rw\n", false, nil, false},
		{"named hierarchies only", v1Name, false, nil, false},
		{"malformed", "x y z\n", false, nil, false},
		{"empty", "", false, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, err := Detect([]byte(tt.mounts), "")
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			if fs.HasV2() != tt.v2 {
				t.Errorf("HasV2 is %v", fs.HasV2())
			}
			g := open(t, fs, "/a/b")
			for c, want := range tt.dirs {
				got := ""
				if chain := g.chain(c); len(chain) > 0 {
					got = chain[0].dir
				}
				if got != want {
					t.Errorf("controller %s is at %q, want %q", c, got, want)
				}
			}
		})
	}
}

// v1FS returns the hierarchies memory, cpu with cpuacct, cpuset, blkio, pids, and v2, in this
// order.
func v1FS(t testing.TB) *FS {
	fs, err := Detect([]byte(allV1+hybrid), "")
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestParsePaths(t *testing.T) {
	tests := []struct {
		name, text, want string
		ok               bool
	}{
		{"hybrid", "12:pids:/p\n5:cpu,cpuacct:/c\n4:memory:/m\n3:cpuset:/s\n2:blkio:/b\n" +
			"1:name=systemd:/n\n0::/u\n", "/m|/c|/s|/b|/p|/u", true},
		{"captured", testdata(t, "v1-6.18/self-cgroup"), "/tenant.slice/session|/|/|/|/|/", true},
		{"colons, commas, blanks", "4:memory:/a:b/c,d/e f (deleted)\n",
			"/a:b/c,d/e f (deleted)|||||", true},
		{"path that looks like another line", "4:memory:/0::\n", "/0::|||||", true},
		{"unknown controllers", "9:misc:/x\n4:memory:/m\n", "/m|||||", true},
		{"only unknown controllers", "9:misc:/x\n", "", false},
		{"no path", "4:memory:\n", "", false},
		{"too few fields", "4:memory\n", "", false},
		{"newline in a path", "4:memory:/a\nb\n", "", false},
		{"empty", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := v1FS(t).ParsePaths([]byte(tt.text))
			if got := strings.Join(p.of, "|"); (err == nil) != tt.ok || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func paths(of ...string) Paths { return Paths{of} }

func TestTrimInit(t *testing.T) {
	p := paths("/a/init.scope", "/init.scope", "/a/init.scope/b", "/a/xinit.scope", "/", "")
	got := p.TrimInit()
	if want := "/a|/|/a/init.scope/b|/a/xinit.scope|/|"; strings.Join(got.of, "|") != want {
		t.Errorf("got %q, want %q", got.of, want)
	}
}

func TestRoot(t *testing.T) {
	tests := []struct{ name, outside, inside, want string }{
		{"at the root", "/docker/x", "/", "/docker/x"},
		{"below it", "/docker/x/init.scope", "/init.scope", "/docker/x"},
		{"deep below it", "/docker/x/a/b", "/a/b", "/docker/x"},
		{"the host's root", "/a", "/a", "/"},
		{"moved out", "/other", "/../other", "/other"},
		{"unknown inside", "/docker/x", "", "/docker/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := paths(tt.outside).Root(paths(tt.inside)); got.of[0] != tt.want {
				t.Errorf("got %q, want %q", got.of[0], tt.want)
			}
		})
	}
}

func TestRelations(t *testing.T) {
	tests := []struct {
		name       string
		init       Paths
		reader     Paths
		isAncestor bool
		child      string // ChildOfCommonAncestor
	}{
		{"the same", paths("/d/x"), paths("/d/x"), true, ""},
		{"below", paths("/d/x"), paths("/d/x/init.scope"), true, ""},
		{"beside", paths("/d/x"), paths("/d/y"), false, "/d/y"},
		{"below one beside", paths("/d/x"), paths("/d/y/a/b"), false, "/d/y"},
		{"prefix of another name", paths("/d/x"), paths("/d/xy"), false, "/d/xy"},
		{"above", paths("/d/x"), paths("/d"), false, ""},
		{"at the root", paths("/d/x"), paths("/"), false, ""},
		{"elsewhere", paths("/d/x"), paths("/e/f/g"), false, "/e"},
		{"in a pod", paths("/pods/p/pause"), paths("/pods/p/web/sub"), false, "/pods/p/web"},
		{"beside in one hierarchy of two", paths("/d/x", "/"), paths("/d/y", "/"), false, "/d/y|/"},
		{"unknown in the other", paths("/d/x", "/d/x"), paths("/d/y", ""), false, "/d/y|"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.init.IsAncestorOrSelf(tt.reader); got != tt.isAncestor {
				t.Errorf("IsAncestorOrSelf is %v", got)
			}
			if tt.isAncestor {
				return
			}
			child := tt.init.ChildOfCommonAncestor(tt.reader)
			if got := strings.Join(child.of, "|"); got != tt.child || child.IsZero() != (tt.child == "") {
				t.Errorf("got child %q, want %q", got, tt.child)
			}
		})
	}
}

func TestReplaceWhere(t *testing.T) {
	for _, tt := range []struct {
		name     string
		own, all Paths // of the inner init, without and with a last init.scope
		want     string
	}{
		{"a sandbox", paths("/c/init", "/c/init"), paths("/c/init", "/c/init"), "/c|/c"},
		{"a container", paths("/c/in", "/c/in"), paths("/c/in", "/c/in"), "/c/in|/c/in"},
		{
			"with systemd", paths("/c/in", "/c/in"), paths("/c/in/init.scope", "/c/in"),
			"/c/in|/c/in",
		},
		{
			"in one hierarchy", paths("/c/in", "/c/init"), paths("/c/in", "/c/init"), "/c/in|/c",
		},
		{"one is unknown", paths("/c/init", ""), paths("/c/init", ""), "/c|"},
		{"one is missing", paths("/c/init"), paths("/c/init"), "/c"},
	} {
		got := tt.own.ReplaceWhere(tt.all, paths("/c/init", "/c/init"), paths("/c", "/c"))
		if got := strings.Join(got.of, "|"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestName(t *testing.T) {
	if got := paths("/", "/docker/x", "").Name(); got != "/docker/x" {
		t.Errorf("got %q", got)
	}
	if got := (Paths{}).Name(); got != "none" {
		t.Errorf("the zero Paths is called %q", got)
	}
	if paths("/a", "/b").Key() == paths("/a/b", "").Key() {
		t.Error("different paths have the same key")
	}
}

func FuzzParsePaths(f *testing.F) {
	f.Add([]byte(testdata(f, "v1-6.18/self-cgroup")))
	f.Add([]byte("4:memory:/a:b\n0::/../x\n"))
	fs := v1FS(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := fs.ParsePaths(text)
		if err != nil {
			return
		}
		if p.IsZero() || !p.IsAncestorOrSelf(p) {
			t.Errorf("%q gave %q", text, p.of)
		}
		fs.Open(p.TrimInit().Root(p)).Close()
		p.ChildOfCommonAncestor(p.TrimInit())
	})
}

func FuzzDetect(f *testing.F) {
	f.Add([]byte(allV1 + hybrid))
	f.Add([]byte(testdata(f, "v1-6.18/mountinfo")))
	f.Fuzz(func(t *testing.T, table []byte) {
		if fs, err := Detect(table, ""); err == nil && len(fs.hierarchies) == 0 {
			t.Error("got neither a hierarchy nor an error")
		}
	})
}

// FuzzParsers passes each input to all parsers of files whose content a container can influence.
func FuzzParsers(f *testing.F) {
	for _, name := range []string{
		"v1-4.19/memory.stat", "v2-6.6/memory.stat", "v2-6.1/io.stat",
		"v1-5.10/blkio.throttle.io_serviced_recursive", "v2-6.18/cpu.stat",
		"v1-6.18/cpuacct.usage_all", "v1-6.18/cpuacct.usage_percpu",
	} {
		f.Add([]byte(testdata(f, name)))
	}
	f.Add([]byte("150000 100000\n"))
	f.Add([]byte("254:0 Read 18446744073709551615\n254:0 Read 18446744073709551616\n" +
		"4294967296:0 Write 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m MemoryStat
		m.parse(text, "")
		m.parse(text, "total_")
		io := parseBlkio(parseIOStat(nil, text), 0, text, requests)
		for i := range io {
			if io[i].Major >= 1<<12 || io[i].Minor >= 1<<20 {
				t.Errorf("device %d:%d", io[i].Major, io[i].Minor)
			}
		}
		parseCPUMax(text)
		var u CPUUsage
		parseUsageAll(text, &u)
		parseUsagePerCPU(text, &u)
		if len(u.PerCPU) > cpulist.MaxCPU+1 {
			t.Errorf("%d CPUs", len(u.PerCPU))
		}
	})
}
