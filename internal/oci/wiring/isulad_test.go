package wiring

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseIsulad(t *testing.T) {
	for text, want := range map[string]Isulad{
		`{}`:                                   {},
		` {"graph":"/g","other":{"graph":1}}`:  {Graph: "/g"},
		`{"graph":"/a","graph":"/b"}`:          {Graph: "/a", Twice: []string{"graph"}},
		`{"Graph":"/a","other":1,"other":2}`:   {},
		`{"hook-spec":"","hook-spec":"/b"}`:    {Twice: []string{"hook-spec"}},
		`{"hosts":["unix:///s","tcp://a:1"]}`:  {Hosts: []string{"unix:///s", "tcp://a:1"}},
		`{"tls":false,"tls-verify":true}`:      {TLS: true, TLSVerify: true},
		`{"authorization-plugin":"x"}`:         {Plugin: "x"},
		`{"graph":"/a","graph":7,"graph":"c"}`: {Graph: "/a", Twice: []string{"graph"}},
	} {
		if got, err := ParseIsulad([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                "EOF",
		"[]":              "want a JSON object",
		`{"graph":1}`:     `"graph": json: cannot unmarshal number`,
		`{"tls":"true"}`:  `"tls": json: cannot unmarshal string`,
		`{"graph":"/a"`:   "EOF",
		`{"graph":"/a",}`: "invalid character",
		`{} {}`:           "text follows",
	} {
		if got, err := ParseIsulad([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestAddOptions(t *testing.T) {
	for text, want := range map[string]Isulad{
		"":                                {Graph: "/a"},
		"# OPTIONS='-H tcp://a:1'\nX=1\n": {Graph: "/a"},
		"OPTIONS='-H tcp://a:1'\n":        {Graph: "/a", Hosts: []string{"tcp://a:1"}},
		"OPTIONS=\"-g /b --hook-spec=/c --host unix:///d -D --tls\"": {
			Graph: "/b", HookSpec: "/c", Hosts: []string{"unix:///d"}, TLS: true},
		"OPTIONS=-D\nOPTIONS='--tlsverify --authorization-plugin x -H'": {
			Graph: "/a", Plugin: "x", Hosts: []string{""}, TLS: true, TLSVerify: true},
	} {
		got := Isulad{Graph: "/a"}
		if got.AddOptions([]byte(text)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

func TestIsuladHosts(t *testing.T) {
	for hosts, want := range map[string]struct {
		tcp    int
		socket bool
	}{
		"":                        {0, true},
		"unix:///var/run/x.sock":  {0, true},
		"tcp://a:1":               {1, false},
		"tcp://a:1 unix:///x":     {1, true},
		"tcp://a:1 tcp://[::1]:2": {2, false},
	} {
		c := Isulad{Hosts: strings.Fields(hosts)}
		if tcp, socket := c.TCP(), c.HasSocket(); len(tcp) != want.tcp || socket != want.socket {
			t.Errorf("%q: got %q and %v", hosts, tcp, socket)
		}
	}
}

func FuzzParseIsulad(f *testing.F) {
	for _, text := range []string{
		`{"graph":"/a","graph":7}`, `{"hosts":["tcp://a:1"],"tls":true}`, `{"x":{"y":[1]}} x`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseIsulad([]byte(text)); err != nil && !reflect.DeepEqual(c, Isulad{}) {
			t.Errorf("got %+v, %v", c, err)
		}
	})
}
