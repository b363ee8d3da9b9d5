package doctor

import (
	"strings"
	"testing"
)

// FuzzTOML parses files of containerd and Podman, and looks at all of them that is looked at.
func FuzzTOML(f *testing.F) {
	for _, text := range []string{"", configTOML, "imports = [1, \"x\"]\n", "plugins = 7\n", "disabled_plugins = [\"cri\"]\n",
		"[engine]\nhooks_dir = [\"/a\", {append=true}, 7]\n", "[plugins.cri.containerd.runtimes]\na = 1\nb.options = 2\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if hooks, err := parseTOML[hooksConfig](text); err == nil {
			appendDirs([]string{"/a"}, hooks.Engine.HooksDir)
		}
		file, err := parseTOML[containerdFile](text)
		if err != nil {
			return
		}
		c := containerdConfig{runtimes: make(map[string]engineRuntime)}
		c.add(&file)
		for _, runtime := range c.runtimes {
			isRuntime(runtime.program, nil)
			callsRuntime([]byte(runtime.program))
		}
	})
}

// FuzzJSON parses files of Docker and of hooks directories.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{"", daemonJSON, hookJSON, hookSpec, `{"hook":"x","stage":["a"]}`, `{"hook":null}`, "{\n1"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := parseDocker(text); err != nil {
			if strings.Contains(err.Error(), "column -") {
				t.Error(err)
			}
		} else {
			for _, runtime := range c.Runtimes {
				isRuntime(runtime.Path, runtime.RuntimeArgs)
			}
		}
		if h, err := parseHookFile(text); err == nil {
			isHook(&h.hook, lxcfsHooks)
		}
	})
}

// FuzzSubids parses /etc/subuid: no range is empty or goes beyond the last id, and each user's own
// may overlap.
func FuzzSubids(f *testing.F) {
	f.Add([]byte("a:100000:65536\nb:165536:65536\n#\nx\n"), []byte("a:1:1\nb:1:2\na:0:4294967295\n"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		ranges, _ := parseSubids(append(append(one, '\n'), two...), nil)
		for _, r := range ranges {
			if r.first >= r.end || r.end > 1<<32 {
				t.Errorf("got %+v", r)
			}
		}
		want := false
		for i, r := range ranges[:min(len(ranges), 200)] {
			for _, s := range ranges[:i] {
				want = want || r.owner != s.owner && r.first < s.end && s.first < r.end
			}
		}
		if _, _, got := overlap(ranges[:min(len(ranges), 200)]); got != want {
			t.Errorf("overlap is %v, want %v: %+v", got, want, ranges)
		}
	})
}

// FuzzKernelTexts reads odd texts in the place of the kernel's.
func FuzzKernelTexts(f *testing.F) {
	f.Add("6.1", v1Mounts, "memory\t3\t9\t1\n")
	f.Add("x.y", v2Mounts, "")
	f.Fuzz(func(t *testing.T, release, mounts, cgroups string) {
		if strings.HasPrefix(mounts, "->") || mounts == "none" {
			return
		}
		w := newWorld(t, files{"/proc/thread-self/mountinfo": " " + mounts, "/proc/cgroups": " " + cgroups,
			"/proc/sys/kernel/osrelease": " " + release})
		checkKernel(t.Context(), w, newReport())
		r := newReport()
		checkCgroups(t.Context(), w, r)
		if len(r.Findings) == 0 {
			t.Error("nothing is found")
		}
	})
}
