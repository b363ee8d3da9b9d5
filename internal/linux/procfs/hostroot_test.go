package procfs

import "testing"

// TestIsRootStatus parses the status of the host's root and of other processes.
func TestIsRootStatus(t *testing.T) {
	const all, docker = "000001ffffffffff", "00000000a80425fb"
	for text, want := range map[string]bool{
		"Name:\tsh\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapEff:\t" + all + "\n": true,
		"Uid:\t0\t0\t0\t0\nCapEff:\t" + docker + "\n":                           false,
		"Uid:\t1000\t0\t0\t0\nCapEff:\t" + all + "\n":                           false,
		"Uid:\t0\t0\t0\t1000\nCapEff:\t" + all + "\n":                           false,
		"Uid:\t0\t0\t0\t0\n": false, "CapEff:\t" + all + "\n": false,
		"": false, "Uid\nCapEff": false,
		"Name:\tUid:\t0\t0\t0\t0\nUid:\t5\t5\t5\t5\nCapEff:\t" + all + "\n": false,
	} {
		if got := isRootStatus([]byte(text)); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
