package doctor

import "testing"

// TestVersionIn parses the output of --version of several programs.
func TestVersionIn(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n": "",
		"lxcfs version v0.7-3-gabc\n": "v0.7-3-gabc",
		"5.0.3\n":                     "5.0.3",
		"runc version 1.1.5+ds1\ncommit: 1.1.5\n":                                  "1.1.5+ds1",
		"Docker version 20.10.24+dfsg1, build 5d6db84\n":                           "20.10.24+dfsg1",
		"Version 2.1.6, commit 0\n":                                                "2.1.6",
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1\n":    "1.6.20~ds1",
		"containerd github.com/containerd/containerd/v2 v2.1.0 0123456789abcdef\n": "v2.1.0",
		"crio version": "version",
	} {
		if got := versionIn(text); got != want {
			t.Errorf("in %q the version is %q, want %q", text, got, want)
		}
	}
}
