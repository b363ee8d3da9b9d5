//go:build integration

package authz

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/engine"
)

// send sends a raw request to dockerd over TLS as user, and returns the status code and the body.
func (e *dockerd) send(t *testing.T, user, request string) (code int, text string) {
	t.Helper()
	dir := filepath.Join(e.certs, user)
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c, err := tls.Dial("tcp", e.address, &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	_, writeErr := io.WriteString(c, request)
	response, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: strings.ToUpper(strings.Fields(request)[0])})
	if err != nil && writeErr != nil {
		// dockerd closes the connection of a refused request unread; its response may be lost.
		return http.StatusForbidden, writeErr.Error()
	}
	if err != nil {
		t.Fatalf("%.200q: %v", request, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// request returns an HTTP request with a JSON body.
func request(line, body string, headers ...string) string {
	return line + " HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nConnection: close\r\n" +
		strings.Join(append(headers, fmt.Sprintf("Content-Length: %d", len(body))), "\r\n") + "\r\n\r\n" + body
}

// state returns the containers and images that must not change during an attack.
func (e *dockerd) state(t *testing.T) string {
	t.Helper()
	return e.must(t, anonymous, nil, "inspect", "--format", "{{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.Name}}", "web") +
		e.must(t, anonymous, nil, "ps", "--all", "--quiet", "--no-trunc") + e.must(t, anonymous, nil, "images", "--quiet", "--no-trunc")
}

// TestAttackByURI checks that users who may only list or read containers cannot disguise other
// requests as such to dockerd.
func TestAttackByURI(t *testing.T) {
	e := startEngine(t)
	const admin = `{"name":"admin","users":[""],"actions":[""]}`
	// A line for all users decides for the lines after it, too: lines for named users stand above.
	e.replace(t, `{"name":"ps","users":["alice"],"actions":["^container_list$"]}`+"\n"+`{"name":"watch","users":["bob"],"actions":[""],"readonly":true}`+"\n"+admin)
	before := e.state(t)
	for _, user := range []string{"alice", "bob"} {
		if code, text := e.send(t, user, request("GET /v1.41/containers/json", "")); code != 200 {
			t.Fatalf("%s: %d %s", user, code, text)
		}
	}
	for _, line := range []string{
		"POST /containers/web/stop?t=0", "POST /v1.41/containers/web/kill", "POST /%63ontainers/web/stop?t=0", "POST /containers/web%2Fstop",
		"POST //containers/web/stop", "POST /containers//web/stop", "POST /containers/json/../web/stop", "POST /containers/json/%2e%2e/web/stop",
		"POST /v1.41/v1.41/containers/web/stop", "POST /v1.41.0/containers/web/stop?t=0", "POST /v0.0.0/containers/web/stop",
		"POST /v1.12/containers/web/stop?t=0", "POST http://docker/containers/web/stop?t=0", "POST https://docker/v1.41/containers/web/stop?t=0",
		"POST /containers/web/stop?x=/containers/json", "POST /containers/web/stop?t=0&/auth", "POST /containers/web/stop#/containers/json",
		"POST /CONTAINERS/web/stop", "post /containers/web/stop", "DELETE /containers/web?force=1", "DELETE /containers/web/json?force=1",
		"POST /containers/web/rename?name=json", "GET /v1.41/containers/web/attach/ws?stream=1&stdin=1", "POST /containers/web/attach?stream=1&stdin=1",
		"POST /containers/create?name=json", "POST /images/box/tag?repo=containers/json", "DELETE /images/box?force=1", "POST /commit?container=web",
		"POST /grpc", "POST /session", "PUT /containers/web/archive?path=/tmp",
	} {
		for _, user := range []string{"alice", "bob"} {
			code, text := e.send(t, user, request(line, `{"Image":"box"}`))
			if code < 300 { // dockerd redirects a request whose path is not clean
				t.Errorf("%s: %s: %d %s", user, line, code, text)
			}
		}
	}
	if after := e.state(t); after != before {
		t.Errorf("state changed: got\n%s, want\n%s", after, before)
	}
}

// TestAttackByBody checks that a user who may create containers cannot get any option that "deny"
// lists, however the request is written.
func TestAttackByBody(t *testing.T) {
	e := startEngine(t)
	e.replace(t, `{"name":"dev","users":["alice"],"actions":["container","image","volume","service","plugin","docker_ping"],`+
		`"deny":["privileged","pid","net","ipc","uts","user","binds","devices","capabilities","security-options"]}`+"\n"+
		`{"name":"admin","users":[""],"actions":[""]}`)
	for option, want := range map[string]string{
		"--privileged": "Privileged is set", "--pid=host": `PidMode is "host"`, "--network=host": `NetworkMode is "host"`, "--ipc=host": `IpcMode is "host"`,
		"--uts=host": `UTSMode is "host"`, "--userns=host": `UsernsMode is "host"`, "--volume=/:/host": `Binds has "/:/host"`,
		"--mount=type=bind,source=/,target=/host": `Mounts has "/"`, "--device=/dev/null": "Devices is set", "--cap-add=SYS_ADMIN": "is added",
		"--security-opt=seccomp=unconfined": "SecurityOpt has", "--security-opt=systempaths=unconfined": "MaskedPaths or ReadonlyPaths",
		"--device-cgroup-rule=a *:* rwm": "DeviceCgroupRules is set", "--volumes-from=web": "VolumesFrom is set",
		"--mount=type=volume,target=/h,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/": `the volume's device is "/"`,
		"--network=container:web": `NetworkMode is "container:web"`,
	} {
		e.refused(t, "alice", want, "create", option, "box", "true")
	}
	e.refused(t, "alice", `"binds"`, "volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/", "root")
	e.refused(t, "alice", "Privileged is set", "exec", "--privileged", "web", "true")
	e.refused(t, "alice", "service_create", "service", "create", "box")
	e.must(t, "alice", nil, "create", "--name", "harmless", "--network", "none", "--volume", "data:/data", "--tmpfs", "/t", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "box", "true")
	e.must(t, "alice", nil, "exec", "web", "true")

	const privileged = `{"Image":"box","HostConfig":{"Privileged":true}}`
	large := `{"Image":"box","Labels":{"x":"` + strings.Repeat("x", 3<<20) + `"},"HostConfig":{"Privileged":true}}`
	for name, c := range map[string]string{
		"fields at the top":      request("POST /containers/create", `{"Image":"box","Privileged":true}`),
		"lower case":             request("POST /containers/create", `{"image":"box","hostconfig":{"privileged":true}}`),
		"twice":                  request("POST /containers/create", `{"Image":"box","HostConfig":{},"HostConfig":{"Privileged":true}}`),
		"twice, in another case": request("POST /containers/create", `{"Image":"box","HostConfig":{"Privileged":true},"hostConfig":{}}`),
		"two values":             request("POST /containers/create", `{"Image":"box"} {"HostConfig":{"Privileged":true}}`),
		"larger than 1 MiB":      request("POST /containers/create", large),
		"named as /auth":         request("POST /containers/create?name=x&y=/auth", privileged),
		"in chunks": fmt.Sprintf("POST /containers/create HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nConnection: close\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(privileged), privileged),
		"of another type":    strings.Replace(request("POST /containers/create", privileged), "application/json", "text/json", 1),
		"of no type":         strings.Replace(request("POST /containers/create", privileged), "Content-Type: application/json\r\n", "", 1),
		"with a charset":     strings.Replace(request("POST /containers/create", privileged), "application/json", "application/json; charset=utf-8", 1),
		"with the start":     request("POST /v1.20/containers/harmless/start", `{"Privileged":true,"Binds":["/:/host"]}`),
		"of an old version":  request("POST /v1.18/containers/create", privileged),
		"truncated":          request("POST /containers/create", privileged[:len(privileged)-1]),
		"of the wrong types": request("POST /containers/create", `{"Image":"box","HostConfig":{"Privileged":"true"}}`),
	} {
		if code, text := e.send(t, "alice", c); code < 400 {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	// No container has a denied option, whatever the responses were.
	ids := strings.Fields(e.must(t, anonymous, nil, "ps", "--all", "--quiet"))
	var all []struct {
		Name       string
		HostConfig struct {
			Privileged bool
			Binds      []string
			PidMode    string
		}
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(e.must(t, anonymous, nil, append([]string{"inspect"}, ids...)...)))).Decode(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Errorf("got %d containers, want 2", len(all))
	}
	for _, c := range all {
		if h := c.HostConfig; h.Privileged || h.PidMode != "" || len(h.Binds) > 1 || len(h.Binds) == 1 && h.Binds[0] != "data:/data" {
			t.Errorf("container has denied options: %+v", c)
		}
	}
}

// TestAttackByDetour checks that a user who is denied the host's network, devices and files cannot
// get them indirectly: by a privileged exec, a network id, build options in the body, or a swarm.
func TestAttackByDetour(t *testing.T) {
	e := startEngine(t)
	e.replace(t, `{"name":"dev","users":["alice"],"actions":["container","image","volume","swarm","node"],`+
		`"deny":["net","devices","binds"]}`+"\n"+
		`{"name":"admin","users":[""],"actions":[""]}`)
	e.refused(t, "alice", "Privileged is set", "exec", "--privileged", "web", "true")
	// dockerd would remount /sys, and make it writable.
	e.refused(t, "alice", `Tmpfs has the option "remount"`, "run", "--rm", "--tmpfs", "/sys/.:remount,rw",
		"box", "true")
	// The policy cannot recognize the host's network by its id; the engine must refuse it.
	network := strings.TrimSpace(e.must(t, anonymous, nil, "network", "inspect", "--format", "{{.Id}}", "host"))
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if r := e.run("alice", nil, "run", "--rm", "--network", network, "box", "readlink", "/proc/self/ns/net"); strings.TrimSpace(r.stdout) == own {
		t.Error("a container got the host's network by its id")
	}
	// dockerd reads build options from a form in the body, and does not pass a form to the plugin.
	// Of two content types it uses the first and passes on the last.
	form := strings.Repeat("x&", 8<<10) + "networkmode=host&remote=http%3A%2F%2F127.0.0.1%3A1%2FDockerfile"
	ofType := func(line string) string {
		return strings.Replace(request("POST /build", form), "Content-Type: application/json", line, 1)
	}
	for name, c := range map[string]string{
		"a form":            ofType("Content-Type: application/x-www-form-urlencoded"),
		"a form of 2 types": ofType("Content-Type: application/x-www-form-urlencoded\r\nContent-Type: application/x-tar"),
		"a swarm joined":    request("POST /swarm/join", `{"ListenAddr":"127.0.0.1","RemoteAddrs":["127.0.0.1:1"],"JoinToken":"x"}`),
		"a swarm made":      request("POST /swarm/init", `{"ListenAddr":"127.0.0.1"}`),
		"tokens of a swarm": request("GET /swarm", ""),
		"a checkpoint made": request("POST /containers/web/checkpoints", `{"CheckpointID":"c","CheckpointDir":"/var/lib"}`),
		"a checkpoint used": request("POST /containers/web/start?checkpoint=c&checkpoint-dir=/tmp", ""),
	} {
		code, text := e.send(t, "alice", c)
		isLost := func() bool {
			return strings.Contains(text, "broken pipe") || strings.Contains(text, "connection reset")
		}
		for tries := 0; tries < 10 && isLost(); tries++ {
			code, text = e.send(t, "alice", c)
		}
		if !strings.Contains(text, "authorization denied by plugin") {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
}

// TestAttackByLink checks that a user cannot mount a denied directory through a symbolic link in a
// directory that a container can write.
func TestAttackByLink(t *testing.T) {
	e := startEngine(t)
	own := t.TempDir()
	const secret = "content of /etc"
	if err := os.WriteFile(filepath.Join(own, "shadow"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(own, "/etc/ssl", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount("/etc/ssl", syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	shared := t.TempDir()
	const admin = `{"name":"admin","users":[""],"actions":[""]}`
	policies := func(rule string) string {
		return fmt.Sprintf(`{"name":"dev","users":["alice"],"actions":["container","image","volume","docker_ping"],`+
			`"deny":["privileged",%q]}`+"\n"+admin, rule)
	}
	run := func(mount string, command ...string) string {
		args := append([]string{"run", "--rm", "--network", "none", "--mount", mount, "box"}, command...)
		return e.run("alice", nil, args...).stdout
	}
	// attack creates the link, mounts it, and returns the output of the containers.
	attack := func() string {
		run("type=bind,source="+shared+",target=/shared", "ln", "-sfn", "/etc/ssl", "/shared/link")
		volume := "type=volume,target=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device="
		return run("type=bind,source="+shared+"/link,target=/x", "cat", "/x/shadow") +
			run(volume+shared+"/link", "cat", "/x/shadow")
	}
	// A rule with a path must be refused, or else protect the path.
	e.write(t, policies("binds:/etc"))
	isLoaded := func() bool { return strings.Contains(e.log.String(), "policies loaded") }
	engine.WaitFor(t, "the policies to be read", func() bool {
		return isLoaded() || strings.Contains(e.log.String(), `write \"binds\"`)
	})
	if isLoaded() {
		if text := attack(); strings.Contains(text, secret) {
			t.Errorf("with binds:/etc, the user reads %q", text)
		}
	}
	e.replace(t, policies("binds"))
	if text := attack(); text != "" {
		t.Errorf("with binds, the user reads %q", text)
	}
	if _, err := os.Lstat(filepath.Join(shared, "link")); err == nil {
		t.Error("with binds, the user has created a link")
	}
	if err := os.Symlink("/etc/ssl", filepath.Join(shared, "link")); err != nil {
		t.Fatal(err)
	}
	if text := attack(); text != "" {
		t.Errorf("with binds, the user reads %q through an existing link", text)
	}
	for _, source := range []string{
		shared, shared + "/link", "/run/userns-shift-roots", "/usr/lib/ssl/private", "/var/lib/containers",
	} {
		e.refused(t, "alice", `"binds": Binds has`, "create", "--volume", source+":/x:ro", "box", "true")
		e.refused(t, "alice", `"binds": Mounts has`, "create", "--mount", "type=bind,readonly,target=/x,source="+source,
			"box", "true")
		e.refused(t, "alice", `"binds": the volume's device is`, "volume", "create", "--opt", "type=none",
			"--opt", "o=ro,bind", "--opt", "device="+source)
	}
}

// TestAttackBySecrets checks that read-only users cannot read the engine's secrets.
func TestAttackBySecrets(t *testing.T) {
	e := startEngine(t)
	const password = "hunter2"
	e.must(t, anonymous, nil, "volume", "create", "--opt", "type=cifs", "--opt", "device=//127.0.0.1/x",
		"--opt", "o=username=u,password="+password, "share")
	e.replace(t, `{"name":"watch","users":["bob"],"actions":[""],"readonly":true}`+"\n"+
		`{"name":"admin","users":[""],"actions":[""]}`)
	for _, line := range []string{"GET /volumes", "GET /v1.41/volumes/share"} {
		code, text := e.send(t, "alice", request(line, ""))
		if code != 200 || !strings.Contains(text, password) {
			t.Errorf("%s as a user with all rights: %d %s, want the password", line, code, text)
		}
	}
	for _, line := range []string{
		"GET /volumes", "GET /v1.41/volumes/share", "GET /configs", "GET /configs/x", "GET /swarm",
		"GET /v1.41/swarm", "GET /swarm/unlockkey", "GET /plugins", "GET /plugins/x/json",
	} {
		code, text := e.send(t, "bob", request(line, ""))
		if code != 403 || !strings.Contains(text, "discloses secrets") {
			t.Errorf("%s as a read-only user: %d %s", line, code, text)
		}
	}
	for _, line := range []string{
		"GET /info", "GET /system/df", "GET /networks", "GET /images/json", "GET /containers/json",
		"GET /events?until=1",
	} {
		code, text := e.send(t, "bob", request(line, ""))
		if code != 200 || strings.Contains(text, password) {
			t.Errorf("%s as a read-only user: %d %s", line, code, text)
		}
	}
}
