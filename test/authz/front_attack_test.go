//go:build integration

package authz

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/test/engine"
)

// kill is a request that no user in these tests may send.
const kill = "POST /containers/web/kill HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

// smuggled returns requests that hide kill in or behind a list of containers.
func smuggled() map[string]string {
	head := func(line string, headers ...string) string {
		return line + "\r\nHost: x\r\n" + strings.Join(append(headers, "", ""), "\r\n")
	}
	const list = "GET /containers/json HTTP/1.1"
	n := fmt.Sprintf("Content-Length: %d", len(kill))
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(kill), kill)
	all := map[string]string{
		"body":              head(list, n) + kill,
		"chunked body":      head(list, "Transfer-Encoding: chunked") + chunk,
		"CL and TE":         head(list, n, "Transfer-Encoding: chunked") + "0\r\n\r\n" + kill,
		"TE and CL":         head(list, "Transfer-Encoding: chunked", "Content-Length: 4") + chunk,
		"CL 0 and TE":       head(list, "Content-Length: 0", "Transfer-Encoding: chunked") + chunk,
		"two lengths":       head(list, "Content-Length: 0", n) + kill,
		"two lengths again": head(list, n, "Content-Length: 0") + kill,
		"a list of lengths": head(list, "Content-Length: 0, "+n[16:]) + kill,
		"CL in two cases":   head(list, "content-length: 0", n) + kill,
		"obs-fold":          head(list, "X: a\r\n Content-Length: 0", n) + kill,
		"obs-fold of TE":    head(list, "Transfer-Encoding:\r\n chunked", n) + "0\r\n\r\n" + kill,
		"space before colon": head(list, "Transfer-Encoding : chunked", n) +
			"0\r\n\r\n" + kill,
		"space in name":    head(list, "X Y: a", n) + kill,
		"NUL in value":     head(list, "X: a\x00b") + kill,
		"CR in value":      head(list, "X: a\rContent-Length: 0", n) + kill,
		"LF in value":      head(list, "X: a\nContent-Length: 0", n) + kill,
		"only LF":          strings.ReplaceAll(head(list, n), "\r\n", "\n") + kill,
		"chunk extension":  head(list, "Transfer-Encoding: chunked") + "0;x=\r\n\r\n" + kill,
		"LF in extension":  head(list, "Transfer-Encoding: chunked") + "2;\nxx\r\n0\r\n\r\n" + kill,
		"chunk of LF":      head(list, "Transfer-Encoding: chunked") + "0\n\n" + kill,
		"negative chunk":   head(list, "Transfer-Encoding: chunked") + "-1\r\n\r\n" + kill,
		"huge chunk":       head(list, "Transfer-Encoding: chunked") + "10000000000000000\r\n" + kill,
		"0x chunk":         head(list, "Transfer-Encoding: chunked") + "0x0\r\n\r\n" + kill,
		"no CRLF of chunk": head(list, "Transfer-Encoding: chunked") + "1\r\nx0\r\n\r\n" + kill,
		"trailer CL": head(list, "Transfer-Encoding: chunked", "Trailer: Content-Length") +
			"0\r\n" + n + "\r\n\r\n" + kill,
		"HTTP/1.0 keep":    head("GET /containers/json HTTP/1.0", "Connection: keep-alive", n) + kill,
		"HTTP/1.0 chunked": head("GET /containers/json HTTP/1.0", "Transfer-Encoding: chunked") + chunk,
		"HTTP/0.9":         "GET /containers/json\r\n" + kill,
		"two versions":     head(list+" HTTP/1.1") + kill,
		"version 1.2":      head("GET /containers/json HTTP/1.2") + kill,
		"tab in line":      head("GET\t/containers/json\tHTTP/1.1") + kill,
		"spaces in line":   head("GET  /containers/json  HTTP/1.1") + kill,
		"two hosts":        head(list, "Host: y") + kill,
		"host with path":   strings.Replace(head(list), "Host: x", "Host: x/../kill", 1) + kill,
		"HTTP/2 preface":   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"upgrade to h2c": head(list, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA") + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + kill,
		"upgrade to tcp": head(list, "Connection: Upgrade", "Upgrade: tcp") + kill,
		"upgrade to websocket": head(list, "Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13") + kill,
		"connection names CL":   head(list, "Connection: Content-Length", n) + kill,
		"connection names host": head(list, "Connection: Host, close, X", "X: y") + kill,
		"expect":                head(list, "Expect: 100-continue", n) + kill,
		"expect more":           head(list, "Expect: 200-ok", n) + kill,
		"CONNECT":               head("CONNECT docker:80 HTTP/1.1") + kill,
		"CONNECT of a path":     head("CONNECT /containers/json HTTP/1.1") + kill,
		"OPTIONS *":             head("OPTIONS * HTTP/1.1") + kill,
		"TRACE":                 head("TRACE /containers/json HTTP/1.1") + kill,
		"method override": head("GET /containers/web/kill HTTP/1.1",
			"X-HTTP-Method-Override: POST") + kill,
		"CL in a second line": head(list+"\r\nContent-Length: 0\r\n\r\nPOST /containers/web/kill "+
			"HTTP/1.1", "Content-Length: 0"),
		"pipelined": strings.Repeat(head(list), 3) + kill + head(list),
	}
	for _, te := range []string{
		"xchunked", "chunked, identity", "identity, chunked", "chunked, chunked", "identity",
		"gzip, chunked",
		"Chunked", "\x0bchunked", "chunked\x00", "\"chunked\"", "", ",chunked",
	} {
		all["TE "+te] = head(list, "Transfer-Encoding: "+te, n) + "0\r\n\r\n" + kill
	}
	for _, cl := range []string{"+0", "-1", "0x0", "0 0", "0;", "00", "", " ", "1e1",
		"99999999999999999999", "\x0b0"} {
		all["CL "+cl] = head(list, "Content-Length: "+cl) + kill
	}
	for _, target := range []string{
		"/containers/json/../web/kill", "/containers/json%2f..%2fweb/kill", "//containers/web/kill",
		"/containers/web/kill?/containers/json", "/containers/web/kill#/containers/json",
		"/containers/web/kill;/containers/json", "/containers\\web\\kill", "/containers/web/kill%00",
		"/containers/web/kill%0d%0a", "/containers/web/%6bill", "/v1.41/v1.41/containers/web/kill",
		"http://x/containers/web/kill", "http://x/containers/json/../web/kill", "x:containers/web/kill",
		"unix:/containers/web/kill", "*", "containers/web/kill", "?/containers/json", "/%zz",
		"http:containers/json", "/containers/\xff/kill", "/%2e%2e/containers/web/kill",
	} {
		all["POST "+target] = head("POST "+target+" HTTP/1.1", "Content-Length: 0")
	}
	return all
}

var (
	listed = regexp.MustCompile(`^GET /containers/json($|\?)`)
	// doubleFraming matches the head of a request with a length and chunks, or a folded line.
	doubleFraming = regexp.MustCompile(`(?is)^(GET|POST)[^\n]*\r\n(.*\r\n)?` +
		`(content-length:.*\r\ntransfer-encoding:|transfer-encoding:.*\r\ncontent-length:|` +
		`[^\r\n]*\r\n[ \t])`)
)

// TestFrontSmuggling checks that a user who may only list containers cannot hide another request
// from the front, and that the engine sees exactly the requests that were decided.
func TestFrontSmuggling(t *testing.T) {
	t.Parallel()
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket,
		`{"name":"ps","users":["robot"],"actions":["^container_list$"]}`, "robot")
	if code, text, err := oneRequest("unix", f.socketOf("robot"), ping); code != 403 {
		t.Fatalf("%d %s, %v", code, text, err)
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for name, text := range smuggled() {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answer := talk(t, f.socketOf("robot"), text, 400*time.Millisecond)
			if got, want := strings.Count(answer, "HTTP/1."), strings.Count(text, " HTTP/"); got > want {
				t.Errorf("%s: %d answers, want at most %d: %q", name, got, want, answer)
			}
			if answer != "" && !strings.HasPrefix(answer, "HTTP/1.") {
				t.Errorf("%s: answer %q", name, answer)
			}
		})
	}
	all.Wait()
	seen, raw := e.take()
	for _, r := range seen {
		if !listed.MatchString(r.line) {
			t.Errorf("the engine got %s, with body %q", r.line, r.body)
		}
		for _, name := range []string{"Upgrade", "Connection", "Http2-Settings", "Te", "Keep-Alive"} {
			if v := r.header[name]; v != nil {
				t.Errorf("the engine got %s: %q", name, v)
			}
		}
	}
	for head := range strings.SplitSeq(raw, "\r\n\r\n") {
		if doubleFraming.MatchString(head) {
			t.Errorf("the engine got %q", head)
		}
	}
	allowed := func() (n int) {
		for _, r := range f.records(t) {
			if r.Allow && r.Action != "container_list" {
				t.Errorf("%+v", r)
			}
			if r.Allow {
				n++
			}
		}
		return n
	}
	if len(seen) < 5 {
		t.Errorf("only %d requests were harmless", len(seen))
	}
	engine.WaitFor(t, "an audit record each", func() bool { return allowed() >= len(seen) })
	if n := allowed(); n != len(seen) {
		t.Errorf("%d requests were allowed, the engine got %d", n, len(seen))
	}
	code, text, err := oneRequest("unix", f.socketOf("robot"),
		strings.Replace(ping, "_ping", "containers/json", 1))
	if code != 200 || text != "[]" {
		t.Errorf("after the attacks: %d %s, %v", code, text, err)
	}
}

// TestFrontBodies checks that no form of a body hides an option that "deny" lists.
func TestFrontBodies(t *testing.T) {
	t.Parallel()
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, `{"name":"dev","users":["dev"],`+
		`"actions":["container","image"],"deny":["privileged","binds"]}`, "dev")
	const privileged = `{"Image":"box","HostConfig":{"Privileged":true}}`
	const line = "POST /containers/create"
	chunks := func(text string, size int) (s string) {
		for len(text) > 0 {
			n := min(size, len(text))
			s += fmt.Sprintf("%x\r\n%s\r\n", n, text[:n])
			text = text[n:]
		}
		return s + "0\r\n\r\n"
	}
	// in returns the request with another text in place of old.
	in := func(text, old, new string) string { return strings.Replace(text, old, new, 1) }
	plain := request(line, privileged)
	chunked := in(request(line, ""), "Content-Length: 0", "Transfer-Encoding: chunked")
	for name, text := range map[string]string{
		"plain":              request(line, privileged),
		"at the top":         request(line, `{"Privileged":true,"HostConfig":{"Privileged":true}}`),
		"lower case":         request(line, `{"image":"box","hostconfig":{"privileged":true}}`),
		"twice":              request(line, `{"HostConfig":{},"HostConfig":{"Privileged":true}}`),
		"twice, two cases":   request(line, `{"HostConfig":{"Privileged":true},"hostConfig":{}}`),
		"two values":         request(line, `{"Image":"box"} {"HostConfig":{"Privileged":true}}`),
		"unicode fold":       request(line, `{"HoſtConfig":{"Privileged":true}}`),
		"escaped":            request(line, `{"Host\u0043onfig":{"Privileged":true}}`),
		"BOM":                request(line, "\ufeff"+privileged),
		"chunks of 1":        chunked + chunks(privileged, 1),
		"chunks":             chunked + chunks(privileged, 100),
		"5 MiB":              request(line, strings.Repeat(" ", 5<<20)+privileged),
		"5 MiB in chunks":    chunked + chunks(strings.Repeat(" ", 5<<20)+privileged, 1<<20),
		"gzip":               request(line, privileged, "Content-Encoding: gzip"),
		"charset":            in(plain, "/json", "/json; charset=utf-16"),
		"type text":          in(plain, "application/json", "text/json"),
		"no type":            in(plain, "Content-Type: application/json\r\n", ""),
		"form":               in(plain, "json", "x-www-form-urlencoded"),
		"start with body":    request("POST /v1.20/containers/x/start", `{"Privileged":true}`),
		"query too":          request(line+"?HostConfig.Privileged=1&x;y=1", privileged),
		"exec":               request("POST /containers/web/exec", `{"Privileged":true,"Cmd":["sh"]}`),
		"truncated":          plain[:len(plain)-5],
		"truncated chunks":   chunked + chunks(privileged, 10)[:30],
		"longer than length": in(request(line, "{}"), "{}", privileged),
	} {
		answer := talk(t, f.socketOf("dev"), text, 2*time.Second)
		if strings.Contains(answer, "HTTP/1.1 20") && name != "charset" {
			t.Errorf("%s: %.300q", name, answer)
		}
	}
	seen, _ := e.take()
	for _, r := range seen {
		var body struct {
			Privileged bool
			HostConfig struct {
				Privileged bool
				Binds      []string
			}
		}
		json.Unmarshal([]byte(r.body), &body) // as the engine reads it
		if body.Privileged || body.HostConfig.Privileged || strings.Contains(r.body, "Privileged") {
			t.Errorf("the engine got %s with %.200q", r.line, r.body)
		}
	}
	// What is allowed arrives byte for byte; the front adds a label to new containers.
	const exec = `{"AttachStdout": true,"Cmd" :["true"]}`
	for name, text := range map[string]string{
		"length": request("POST /containers/web/exec", exec),
		"chunks": strings.Replace(chunked, "create", "web/exec", 1) + chunks(exec, 7),
	} {
		code, answer, err := oneRequest("unix", f.socketOf("dev"), text)
		seen, _ := e.take()
		if code != 200 || len(seen) != 1 || seen[0].body != exec {
			t.Errorf("%s: %d %s, %v; the engine got %+v", name, code, answer, err, seen)
		}
	}
	code, answer, err := oneRequest("unix", f.socketOf("dev"),
		request(line, `{"Image":"box","HostConfig":{"NetworkMode" :"none"},"Labels":{"a":"b"}}`))
	seen, _ = e.take()
	var body any
	if len(seen) == 1 {
		json.Unmarshal([]byte(seen[0].body), &body) // nil after an error
	}
	want := map[string]any{
		"Image": "box", "HostConfig": map[string]any{"NetworkMode": "none"},
		"Labels": map[string]any{"a": "b", "palisade.owner": "user:dev"},
	}
	if code != 200 || !reflect.DeepEqual(body, any(want)) {
		t.Errorf("%d %s, %v; the engine got %+v, want %v", code, answer, err, seen, want)
	}
}

// TestFrontLyingHeaders checks that no header changes who the front takes a client for.
func TestFrontLyingHeaders(t *testing.T) {
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, `{"name":"all","users":["alice"],"actions":[""]}`, "robot")
	lies := "X-Remote-User: alice\r\nX-Forwarded-User: alice\r\nRemote-User: alice\r\n" +
		"Authorization: Basic YWxpY2U6eA==\r\nX-Forwarded-Client-Cert: Subject=\"CN=alice\"\r\n" +
		"X-SSL-Client-CN: alice\r\nX-Client-Cert: alice\r\nX-Forwarded-For: 127.0.0.1\r\n" +
		"Forwarded: for=alice\r\nusername: alice\r\ntls_mode: 1\r\nCookie: user=alice\r\n" +
		"X-Registry-Auth: YWxpY2U=\r\nUser-Agent: Docker-Client/28.2.2 (alice)\r\n"
	lying := strings.Replace(ping, "Connection: close\r\n", lies+"Connection: close\r\n", 1)
	for _, socket := range []string{f.socketOf("robot"), f.unix} {
		if code, text, err := oneRequest("unix", socket, lying); code != 403 {
			t.Errorf("%s: %d %s, %v", socket, code, text, err)
		}
	}
	r, err := http.NewRequest(http.MethodGet, "https://"+f.tcp+"/_ping", nil)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(lies), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	for user, want := range map[string]int{"mallory": 403, "alice": 200} {
		response, err := f.client(t, user).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %s, want %d", user, response.Status, want)
		}
	}
	if seen, _ := e.take(); len(seen) != 1 {
		t.Errorf("the engine got %+v", seen)
	}
	engine.WaitFor(t, "four audit records", func() bool { return len(f.records(t)) == 4 })
	users := make(map[string]int)
	for _, r := range f.records(t) {
		users[r.User]++
	}
	for _, user := range []string{"robot", "unix:root", "mallory", "alice"} {
		if users[user] != 1 {
			t.Errorf("got audit records of %v", users)
		}
	}
}
