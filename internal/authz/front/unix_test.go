package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/sys"
)

const (
	peerVariable     = "PALISADE_TEST_PEER"
	peerRootVariable = "PALISADE_TEST_PEER_ROOT"
)

// TestPeerProcess is the process of a peer: it changes its root directory and connects to the
// socket in its environment, and ends when its standard input is closed.
func TestPeerProcess(t *testing.T) {
	path, ok := os.LookupEnv(peerVariable)
	if !ok {
		t.Skip("it is for other tests")
	}
	if root, ok := os.LookupEnv(peerRootVariable); ok {
		if err := errors.Join(syscall.Chroot(root), os.Chdir("/")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.Dial("unix", path); err != nil {
		t.Fatal(err)
	}
	os.Stdin.Read(make([]byte, 1))
}

// startPeer starts a process that connects to the socket, and returns its connection. end ends it.
func startPeer(t *testing.T, l net.Listener, edit func(*exec.Cmd)) (c *Conn, end func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestPeerProcess$")
	cmd.Env = append(os.Environ(), peerVariable+"="+l.Addr().String())
	if edit != nil {
		edit(cmd)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	end = func() {
		stdin.Close()
		cmd.Wait()
	}
	t.Cleanup(end)
	return accept(t, l), end
}

func listenPeers(t *testing.T, env Env) net.Listener {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := listen("unix://"+filepath.Join(dir, "socket")+",mode=0666", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestUnixPeer(t *testing.T) {
	l := listenPeers(t, newEnv())
	c, end := startPeer(t, l, nil)
	// The process may end once it is examined.
	want, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(want.Gid)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := c.Client(t.Context())
		if err != nil || got.UnixUser != want.Username || got.Method != "unix" || got.User != "" ||
			got.Container != nil || got.Local || len(got.UnixGroups) == 0 ||
			got.UnixGroups[0] != group.Name {
			t.Errorf("got %+v, %v", got, err)
		}
		end()
	}
	if c.Conn.(unixConn).peer.peer.Dir != (sys.File{}) {
		t.Error("the directory of the process is still open")
	}
}

// TestUnixPeerEnded ends the process before it is examined.
func TestUnixPeerEnded(t *testing.T) {
	l := listenPeers(t, newEnv())
	c, end := startPeer(t, l, nil)
	end()
	if got, err := c.Client(t.Context()); !strings.Contains(fmt.Sprint(err), "the process has ended") {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestUnixPeerClosed closes a connection that was never read.
func TestUnixPeerClosed(t *testing.T) {
	l := listenPeers(t, newEnv())
	c, _ := startPeer(t, l, nil)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if c.Conn.(unixConn).peer.peer.Dir != (sys.File{}) {
		t.Error("the directory of the process is still open")
	}
	if got, err := c.Client(t.Context()); err == nil {
		t.Errorf("got %+v", got)
	}
}

// TestUnixPeerElsewhere starts processes that could be taken for those of a user of the host.
func TestUnixPeerElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	l := listenPeers(t, newEnv())
	dir := filepath.Dir(l.Addr().String())
	for want, tt := range map[string]struct {
		attr *syscall.SysProcAttr
		env  []string
	}{
		"in another user namespace": {&syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
		}, nil},
		"in another pid namespace": {&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, nil},
		"the root directory is not a mount point": {nil, []string{peerVariable + "=/socket",
			peerRootVariable + "=" + dir}},
	} {
		c, _ := startPeer(t, l, func(cmd *exec.Cmd) {
			cmd.SysProcAttr, cmd.Env = tt.attr, append(cmd.Env, tt.env...)
		})
		got, err := c.Client(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v", want, got, err)
		}
	}
}

// copyOfProgram returns a directory with this test binary, peer.
func copyOfProgram(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "peer"), text, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestUnixPeerOthers identifies a user who is not this process's, without and with a name.
func TestUnixPeerOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	l := listenPeers(t, newEnv())
	dir := copyOfProgram(t)
	for _, path := range []string{filepath.Dir(dir), dir, filepath.Join(dir, "peer")} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[uint32]policy.Identity{
		65534:   {UnixUser: "nobody", UnixGroups: []string{"daemon", "gid:1234567", "bin"}},
		1234567: {UnixUser: "uid:1234567", UnixGroups: []string{"daemon", "gid:1234567", "bin"}},
	} {
		c, _ := startPeer(t, l, func(cmd *exec.Cmd) {
			cmd.Path, cmd.Dir = filepath.Join(dir, "peer"), "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
				Uid: uid, Gid: 1, Groups: []uint32{1234567, 2, 1},
			}}
		})
		got, err := c.Client(t.Context())
		slices.Sort(got.UnixGroups)
		slices.Sort(want.UnixGroups)
		if err != nil || !reflect.DeepEqual(got, Client{want, "unix"}) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestRootMount(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"22 1 8:1 / / rw shared:1 - ext4 x rw\n23 22 0:5 / /dev rw - devtmpfs x rw\n": "8:1 /",
		"1 1 0:2 / / rw - rootfs x rw\n22 1 0:30 /@ / rw - btrfs x rw\n":              "0:30 /@",
		"22 1 8:1 / /x rw - ext4 / rw\n":                                              "",
		"22 1 8:1 / /\\040/ rw - ext4 / rw\n":                                         "",
		"22 1 8:1 / /":                                                                "",
	} {
		if got := rootMount([]byte(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// BenchmarkUnixPeer measures what a connection of a process of the host costs.
func BenchmarkUnixPeer(b *testing.B) {
	l, err := net.Listen("unix", filepath.Join(b.TempDir(), "socket"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for b.Loop() {
		if _, err := newEnv().openUnix(conn).Client(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

const (
	idA = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	idB = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

func TestContainerIDs(t *testing.T) {
	for text, want := range map[string][]string{
		"0::/\n": nil,
		"0::/user.slice/user-1000.slice/session-1.scope\n":                      nil,
		"0::/docker/" + idA + "\n":                                              {idA},
		"0::/system.slice/docker-" + idA + ".scope/init\n":                      {idA},
		"0::/machine.slice/libpod-" + idA + ".scope/container\n":                {idA},
		"0::/machine.slice/libpod_pod_" + idB + ".slice/libpod-" + idA + "\n":   {idB, idA},
		"2:cpu:/docker/" + idA + "\n1:name=systemd:/docker/" + idB + "\n0::/\n": {idA, idB},
		"2:cpu:/docker/" + idA + "\n1:memory:/docker/" + idA + "/x\n":           {idA},
		"0::/docker/" + idA + "/docker/" + idB + "\n":                           {idA, idB},
		"0::/docker/" + idA + "0\n":                                             nil, // 65 digits
		"0::/docker/" + idA[:63] + "\n":                                         nil,
		"0::/docker/" + strings.ToUpper(idA) + "\n":                             nil,
		"0::/a:b/docker-" + idA + ".scope\n":                                    {idA},
		"garbage":                                                               nil,
	} {
		if got, err := containerIDs([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	var many strings.Builder
	many.WriteString("0::")
	for i := range maxIDs + 1 {
		fmt.Fprintf(&many, "/%064x", i)
	}
	if got, err := containerIDs([]byte(many.String())); err == nil {
		t.Errorf("got %q", got)
	}
}

func FuzzContainerIDs(f *testing.F) {
	f.Add([]byte("0::/docker/" + idA + "\n1:cpu:/../x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ids, err := containerIDs(text)
		for path := range strings.Lines(string(text)) {
			above := aboveID(path)
			if strings.Contains(above, idA) && len(idPattern.FindString(above)) > 0 {
				t.Errorf("aboveID(%q) = %q", path, above)
			}
		}
		if err == nil && len(ids) > maxIDs {
			t.Errorf("%q", ids)
		}
		for _, id := range ids {
			if len(id) != 64 || !bytes.Contains(text, []byte(id)) {
				t.Errorf("%q: ID %q", text, id)
			}
		}
	})
}

// TestCheckCreator gives users a cgroup, in which they can create others of any name.
func TestCheckCreator(t *testing.T) {
	root := t.TempDir()
	table := "30 1 0:25 / /unified rw - cgroup2 cgroup2 rw\n" +
		"31 1 0:26 / /memory rw - cgroup cgroup rw,memory\n"
	fs, err := cgroup.Detect([]byte(table), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{
		"unified/docker", "unified/delegated", "memory/docker", "memory/open",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "memory/open"), 0o775); err != nil {
		t.Fatal(err)
	}
	delegated := "users other than root can create cgroups in " + root + "/unified/delegated"
	if os.Chown(filepath.Join(root, "unified/delegated"), 1234567, 0) != nil {
		delegated = ""
	}
	for text, want := range map[string]string{
		"0::/docker/" + idA + "/x": "",
		"0::/" + idA:               "",
		"3:memory:/docker/" + idA + "\n0::/delegated":        "",
		"0::/delegated/docker-" + idA + ".scope":             delegated,
		"3:memory:/docker/" + idA + "\n0::/delegated/" + idB: delegated,
		"3:memory:/open/" + idA + "\n0::/docker/" + idA:      "users other than root can create",
		"3:memory:/missing/" + idA:                           "no such file",
		"2:name=systemd:/docker/" + idA + "\n0::/":           "not in a mounted hierarchy",
		"0::/../../docker/" + idA:                            "not in a mounted hierarchy",
	} {
		err := checkCreator(fs, []byte(text))
		if want == "" && err != nil || want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// fakeContainers are the containers of an engine by their IDs.
type fakeContainers map[string]*policy.Container

func (f fakeContainers) Find(_ context.Context, id string) (*policy.Container, error) {
	if id == "broken" {
		return nil, errors.New("the engine is down")
	}
	return f[id], nil
}

func TestFindContainer(t *testing.T) {
	a, b := &policy.Container{ID: idA, Name: "a"}, &policy.Container{ID: idB, Name: "b"}
	all := fakeContainers{idA: a, idB: b}
	for _, tt := range []struct {
		containers Containers
		ids        []string
		want       *policy.Container
		err        string
	}{
		{all, []string{idA}, a, ""},
		{fakeContainers{idB: b}, []string{idA, idB}, b, ""},
		{fakeContainers{idA: a}, []string{idA, idB}, a, ""}, // a container of an engine in a container
		{all, []string{idA, idB}, nil, `that of two containers, "a" and "b"`},
		{fakeContainers{}, []string{idA}, nil, "the engine does not have the container of the client: " + idA},
		{all, []string{"broken"}, nil, "the engine is down"},
		{nil, []string{idA}, nil, "user=NAME"},
	} {
		got, err := findContainer(t.Context(), tt.containers, tt.ids)
		if got != tt.want && err == nil || !strings.Contains(fmt.Sprint(err), tt.err) {
			t.Errorf("%q: got %+v, %v, want %+v, %q", tt.ids, got, err, tt.want, tt.err)
		}
	}
}

// TestEngineContainers asks an engine, which knows a container also by its name and by prefixes of
// its ID.
func TestEngineContainers(t *testing.T) {
	var requests atomic.Int32
	var answer atomic.Pointer[string]
	path := filepath.Join(t.TempDir(), "socket")
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Method != http.MethodGet || r.RequestURI != "/containers/"+idA+"/json" {
			t.Errorf("%s %s", r.Method, r.RequestURI)
		}
		code := http.StatusOK
		switch text := *answer.Load(); text {
		case "missing":
			code = http.StatusNotFound
		case "broken":
			code = http.StatusInternalServerError
		}
		w.WriteHeader(code)
		fmt.Fprint(w, *answer.Load())
	})}
	go server.Serve(listenUnix(t, path))
	defer server.Close()
	want := &policy.Container{ID: idA, Name: "web", Labels: map[string]string{"a": "b"}}
	for text, tt := range map[string]struct {
		want *policy.Container
		err  string
	}{
		`{"Id":"` + idA + `","Name":"/web","Config":{"Labels":{"a":"b"}}}`: {want: want},
		`{"Id":"` + idA + `","Name":"web","Config":{"Labels":{"a":"b"}}}`:  {want: want},
		`{"Id":"` + idB + `","Name":"/` + idA + `"}`:                       {},
		"missing":                       {},
		"broken":                        {err: "500 Internal Server Error"},
		`{"Id":"` + idA + `"}`:          {err: "has no name"},
		`{"Id":`:                        {err: "parse the answer"},
		`{"Id":"` + idA + `","Name":1}`: {err: "parse the answer"},
	} {
		answer.Store(&text)
		containers := NewContainers(action.Docker, path)
		for range 2 {
			got, err := containers.Find(t.Context(), idA)
			if !reflect.DeepEqual(got, tt.want) || !strings.Contains(fmt.Sprint(err), tt.err) {
				t.Errorf("%s: got %+v, %v, want %+v", text, got, err, tt.want)
			}
		}
	}
	renamed := `{"Id":"` + idA + `","Name":"/renamed"}`
	first := `{"Id":"` + idA + `","Name":"/first"}`
	containers := NewContainers(action.Docker, path).(*engineContainers)
	answer.Store(&first)
	for range 100 {
		if got, err := containers.Find(t.Context(), idA); err != nil || got.Name != "first" {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	answer.Store(&renamed)
	containers.mu.Lock()
	k := containers.known[idA]
	k.at = k.at.Add(-containerAge)
	containers.known[idA] = k
	containers.mu.Unlock()
	if got, err := containers.Find(t.Context(), idA); err != nil || got.Name != "renamed" {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range 2 * maxContainers {
		containers.known[fmt.Sprint(i)] = knownContainer{nil, time.Now()}
	}
	containers.mu.Lock()
	delete(containers.known, idA)
	containers.mu.Unlock()
	if _, err := containers.Find(t.Context(), idA); err != nil || len(containers.known) != 1 {
		t.Errorf("%v; %d containers are remembered", err, len(containers.known))
	}
}

// TestIsuladContainers asks a server with the protocol of iSulad.
func TestIsuladContainers(t *testing.T) {
	var answer atomic.Pointer[[]byte]
	path := filepath.Join(t.TempDir(), "socket")
	server := &http.Server{Protocols: new(http.Protocols),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if want := "\x00\x00\x00\x00B\n@" + idA; err != nil || string(body) != want ||
				r.URL.Path != "/containers.ContainerService/Inspect" || r.Method != http.MethodPost ||
				r.Header.Get("Content-Type") != "application/grpc" {
				t.Errorf("%s %s: got %q, %v, want %q", r.Method, r.URL, body, err, want)
			}
			w.Header().Set("Trailer", "Grpc-Status")
			w.Header().Set("Content-Type", "application/grpc")
			w.Write(append(make([]byte, grpcHeader), *answer.Load()...))
			status := "0"
			if len(*answer.Load()) == 0 {
				status = "2"
			}
			w.Header().Set("Grpc-Status", status)
		})}
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(listenUnix(t, path))
	defer server.Close()
	field := func(number protowire.Number, text string) []byte {
		b := protowire.AppendTag(nil, number, protowire.BytesType)
		return protowire.AppendString(b, text)
	}
	code := protowire.AppendVarint(protowire.AppendTag(nil, inspectCode, protowire.VarintType), 3)
	web := field(inspectJSON, `{"Id":"`+idA+`","Name":"web","Config":{"Labels":{"a":"b"}}}`)
	missing := "No such image or container or accelerator:" + idA
	for _, tt := range []struct {
		name   string
		answer []byte
		want   *policy.Container
		err    string
	}{
		{"found", web, &policy.Container{ID: idA, Name: "web", Labels: map[string]string{"a": "b"}}, ""},
		{"missing", slices.Concat(code, field(inspectMessage, missing)), nil, ""},
		{"other", field(inspectJSON, `{"Id":"`+idB+`","Name":"`+idA+`"}`), nil, ""},
		{"locked", slices.Concat(code, field(inspectMessage, "inspect failed")), nil, "code 3"},
		{"no code", field(inspectMessage, missing), nil, "code 0"},
		{"failed", nil, nil, `gRPC status "2"`},
		{"cut", web[:len(web)-1], nil, "unexpected EOF"},
	} {
		answer.Store(&tt.answer)
		got, err := NewContainers(action.Isulad, path).Find(t.Context(), idA)
		if !reflect.DeepEqual(got, tt.want) || !strings.Contains(fmt.Sprint(err), tt.err) {
			t.Errorf("%s: got %+v, %v, want %+v, %q", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func FuzzParseInspect(f *testing.F) {
	f.Add([]byte("\x0a\x02{}\x10\x00\x1a\x01x"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if text, err := parseInspect(message); err == nil && len(text) > len(message) {
			t.Errorf("%q: %q", message, text)
		}
	})
}
