package wrapper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindRuntime finds runtimes, also without PATH, and refuses to find this program.
func TestFindRuntime(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	for _, tt := range []struct{ name, path, mistake string }{
		{"sh", "/bin/sh", ""},
		{"/bin/sh", "/bin/sh", ""},
		{link, "", "is the wrapper itself"},
		{"no-such-runtime", "", "not found"},
		{"/no/such/sh", "", "no such file"},
	} {
		r, err := FindRuntime(tt.name)
		if tt.mistake != "" {
			if err == nil || !strings.Contains(err.Error(), tt.mistake) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.mistake)
			}
			continue
		}
		if err != nil || !strings.HasSuffix(r.Path, tt.path) || r.Name != tt.name {
			t.Errorf("%s: %+v, %v", tt.name, r, err)
		}
	}
}
