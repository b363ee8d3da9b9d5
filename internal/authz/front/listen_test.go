package front

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palisade/internal/authz/action"
)

func TestParseListen(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Address
	}{
		{"tcp://127.0.0.1:2376,cert=/c,key=/k,ca=/a", Address{Network: "tcp", Addr: "127.0.0.1:2376",
			Cert: "/c", Key: "/k", CA: "/a", Mode: 0o660}},
		{"tcp://[::]:2376,ca=/a,crl=/r,key=/k,cert=/c", Address{Network: "tcp", Addr: "[::]:2376",
			Cert: "/c", Key: "/k", CA: "/a", CRL: "/r", Mode: 0o660}},
		{"tcp://127.0.0.1:2375,insecure-no-client-verification=true,user=ci", Address{Network: "tcp",
			Addr: "127.0.0.1:2375", Insecure: true, User: "ci", Mode: 0o660}},
		{"tcp://[::1]:2375,user=ci,insecure-no-client-verification=true", Address{Network: "tcp",
			Addr: "[::1]:2375", Insecure: true, User: "ci", Mode: 0o660}},
		{"unix:///run/x.sock", Address{Network: "unix", Addr: "/run/x.sock", Mode: 0o660}},
		{"unix:///run//y/../x.sock,mode=0666,owner=root,group=12,user=a=b", Address{Network: "unix",
			Addr: "/run/x.sock", Mode: 0o666, Owner: "root", Group: "12", User: "a=b"}},
	} {
		if got, err := ParseListen(tt.text); err != nil || got != tt.want {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", tt.text, got, err, tt.want)
		}
	}
	const (
		files    = ",cert=c,key=k,ca=a"
		insecure = ",insecure-no-client-verification=true"
	)
	for text, want := range map[string]string{
		"":                              "want tcp://IP:PORT or unix:///PATH",
		"/run/x.sock":                   "want tcp://IP:PORT or unix:///PATH",
		"npipe://x":                     "want tcp://IP:PORT or unix:///PATH",
		"tcp://127.0.0.1:2376":          "want cert=, key= and ca=",
		"tcp://0.0.0.0:2376,cert=c":     "want cert=, key= and ca=",
		"tcp://:2376" + files:           "want IP:PORT",
		"tcp://localhost:2376" + files:  "want IP:PORT",
		"tcp://127.0.0.1" + files:       "want IP:PORT",
		"tcp://127.0.0.1:70000" + files: "want IP:PORT",
		"tcp://127.0.0.1:1" + files + ",user=alice":                    "user= cannot be used",
		"tcp://127.0.0.1:1" + files + ",mode=0666":                     `unknown option "mode"`,
		"tcp://127.0.0.1:1" + files + ",":                              `unknown option ""`,
		"tcp://127.0.0.1:1" + files + ",ca=b":                          "option ca is given twice",
		"tcp://127.0.0.1:1" + files + ",crl=":                          `option crl: bad value ""`,
		"tcp://127.0.0.1:1,cert=c,key=k,ca":                            `option ca: bad value ""`,
		"tcp://127.0.0.1:1" + insecure:                                 "want user=NAME",
		"tcp://127.0.0.1:1,insecure-no-client-verification=yes,user=x": "want true",
		"tcp://127.0.0.1:1" + insecure + ",user=x" + files:             "cannot be used with cert",
		"tcp://0.0.0.0:1" + insecure + ",user=x":                       "not a loopback address",
		"tcp://[::]:1" + insecure + ",user=x":                          "not a loopback address",
		"tcp://192.0.2.1:1" + insecure + ",user=x":                     "not a loopback address",
		"tcp://[::ffff:192.0.2.1]:1" + insecure + ",user=x":            "not a loopback address",
		"unix://run/x":             "want an absolute path",
		"unix://":                  "want an absolute path",
		"unix:///run/x,mode=1777":  "want an octal number up to 0777",
		"unix:///run/x,mode=0o660": "want an octal number up to 0777",
		"unix:///run/x,mode=668":   "want an octal number up to 0777",
		"unix:///run/x,user=":      `option user: bad value ""`,
		"unix:///run/x,user=a\nb":  "option user: bad value",
		"unix:///run/x,cert=c":     `unknown option "cert"`,
		"unix:///run/x" + insecure: "unknown option",
		"unix:///run/\x00x":        "want an absolute path",
	} {
		if _, err := ParseListen(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// newEnv returns an environment whose log is not shown.
func newEnv() Env {
	return Env{Log: slog.New(slog.DiscardHandler), Engine: action.Docker}
}

func listenUnix(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := listen("unix://"+path+",mode=0606,user=ci", newEnv())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o606 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := accept(t, l).Client(t.Context())
	if err != nil || got.User != "ci" || got.Name() != "ci" || got.Method != "socket" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, options := range []string{"owner=no-such-user", "group=no-such-group", "owner=-1",
		"owner=4294967295", "group=4294967296"} {
		path := filepath.Join(t.TempDir(), "socket")
		if l, err := listen("unix://"+path+","+options, newEnv()); err == nil {
			l.Close()
			t.Errorf("%s: no error", options)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: the socket exists", options)
		}
	}
}

// accept returns the next connection.
func accept(t *testing.T, l net.Listener) *Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

func TestListenAll(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	env := newEnv()
	env.Passed = []net.Listener{listenUnix(t, a)}
	all, err := ListenAll([]string{"unix://" + b + ",mode=0600", "unix://" + a}, env)
	if err != nil || len(all) != 2 || all[1].(*listener).Listener != env.Passed[0] {
		t.Fatalf("got %v, %v", all, err)
	}
	all[0].Close()
	for _, tt := range []struct {
		passed []net.Listener
		texts  []string
		want   string
	}{
		{env.Passed, []string{"unix://" + b}, "is not a --listen address: unix://" + a},
		{[]net.Listener{nil}, []string{"unix://" + b}, "not a stream socket"},
		{env.Passed, []string{"unix://" + a + ",mode=0666"}, "are set in its unit"},
		{env.Passed, []string{"unix://" + a + ",group=0"}, "are set in its unit"},
		{env.Passed, []string{"unix://" + a, "unix://" + a + ",user=x"}, "given twice"},
		{nil, []string{"unix://" + b, "unix://" + b + ",user=x"}, "another process listens"},
		{nil, []string{"unix://" + b, "tcp://x"}, "want IP:PORT"},
	} {
		env.Passed = tt.passed
		all, err := ListenAll(tt.texts, env)
		if err == nil || !strings.Contains(err.Error(), tt.want) || all != nil {
			t.Errorf("%q: got %v, %v, want %q", tt.texts, all, err, tt.want)
		}
		if _, err := os.Stat(b); err == nil {
			t.Errorf("%q: a socket stays open", tt.texts)
		}
	}
}

// TestPassedTCP compares addresses of sockets from the service manager.
func TestPassedTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().String()[len("127.0.0.1:"):]
	for addr, want := range map[string]bool{
		"127.0.0.1:" + port: true, "[::ffff:127.0.0.1]:" + port: true, "[::1]:" + port: false,
		"0.0.0.0:" + port: false, "127.0.0.1:1": false,
	} {
		if got := (&Address{Network: "tcp", Addr: addr}).is(l); got != want {
			t.Errorf("%s: got %v", addr, got)
		}
	}
}

// TestMaxConns checks that a client's connections are limited, those of others are not, and that
// closed ones do not count.
func TestMaxConns(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, `{"users":[""],"actions":[""]}`, func(http.ResponseWriter, *http.Request) {}, nil)
	path := func(user string) string { return filepath.Join(dir, user) }
	listeners, err := ListenAll([]string{
		"unix://" + path("a") + ",user=a", "unix://" + path("b") + ",user=b", "unix://" + path("peer"),
	}, Env{MaxConns: 3, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		go f.Serve(l)
	}
	// ask opens a connection, which stays open, and returns whether a request is answered.
	ask := func(user string) (net.Conn, bool) {
		c, err := net.Dial("unix", path(user))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		return c, err == nil && answer.StatusCode == http.StatusOK
	}
	for _, user := range []string{"a", "b", "peer"} {
		var first net.Conn
		for i := range 5 {
			c, ok := ask(user)
			if ok != (i < 3) {
				t.Errorf("%s, connection %d: answered: %v", user, i+1, ok)
			}
			if i == 0 {
				first = c
			}
		}
		first.Close()
		isFree := false
		for i := 0; i < 100 && !isFree; i++ {
			time.Sleep(10 * time.Millisecond)
			_, isFree = ask(user)
		}
		if !isFree {
			t.Errorf("%s: a closed connection still counts", user)
		}
	}
}
