package engine

import (
	"strings"
	"testing"

	"palisade/internal/oci"
)

// seed adds a fixture, and some texts that are cut short.
func seed(f *testing.F, name string) {
	text := fixture(f, name)
	for _, n := range []int{0, 1, 20, len(text) / 2, len(text) - 1, len(text)} {
		f.Add(text[:n])
	}
}

func FuzzParseRunc(f *testing.F) {
	seed(f, "runc-state.json")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseRunc([]byte(text)); err == nil && oci.CheckID(got.ID) != nil {
			t.Errorf("the id %q is taken", got.ID)
		}
	})
}

func FuzzParseCrun(f *testing.F) {
	seed(f, "crun-status")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseCrun([]byte(text)); err != nil && got.PID != 0 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func FuzzParseStored(f *testing.F) {
	seed(f, "podman-containers.json")
	seed(f, "crio-containers.json")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseStored([]byte(text))
		if err != nil && found != nil {
			t.Errorf("got %+v, %v", found, err)
		}
		for _, c := range found {
			if c.PID != 0 || c.Engine != "podman" && c.Engine != "cri-o" {
				t.Errorf("got %+v", c)
			}
		}
	})
}

func FuzzParseIsula(f *testing.F) {
	seed(f, "isula-ps.txt")
	f.Add("a 7 b\n\n a - c \n")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseIsula(text)
		if err != nil && found != nil {
			t.Errorf("got %+v, %v", found, err)
		}
		for _, c := range found {
			if oci.CheckID(c.ID) != nil || len(c.Names) != 1 || c.Names[0] == "" {
				t.Errorf("got %+v", c)
			}
		}
	})
}

func FuzzParsePayload(f *testing.F) {
	for _, text := range []string{
		"0::/lxc.payload.b1/init.scope\n", v1("/lxc/100/ns"), "1:name=systemd:/lxc.payload/b1-1",
		"0::/..", "::", "0::/lxc//ns\n",
	} {
		f.Add(text, "")
		f.Add(text, "0::/\n")
		f.Add(text, "0::/init.scope\n")
	}
	f.Fuzz(func(t *testing.T, text, inside string) {
		name, isProxmox := parsePayload([]byte(text), []byte(inside))
		if strings.Contains(name, "/") || !strings.Contains(text, name) {
			t.Errorf("got %q", name)
		}
		if isProxmox && !isNumber(name) {
			t.Errorf("Proxmox: %q", name)
		}
		if all, _ := parsePayload([]byte(text), nil); name != "" && all == "" {
			t.Error("it is found in a part of the path alone")
		}
	})
}
