package scrape

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// serve starts a server with one metric, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	opts := prometheus.GaugeOpts{Name: "answer", Help: "An answer."}
	registry.MustRegister(prometheus.NewGaugeFunc(opts, func() float64 { return 42 }))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(registry, Checks{
		"/healthz": func() error { return nil },
		"/readyz":  func() error { return errors.New("not ready") },
	})
	ended := make(chan error)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// send sends text and returns the whole response.
func send(t *testing.T, address, text string) string {
	t.Helper()
	c, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	response, _ := io.ReadAll(c) // the connection may be reset after the response
	return string(response)
}

const get = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

func TestServer(t *testing.T) {
	address := serve(t)
	for _, c := range []struct{ name, text, want, without string }{
		{"get", get, "HTTP/1.1 200 OK", ""},
		{
			"body", get, "\r\n\r\n# HELP answer An answer.\n# TYPE answer gauge\nanswer 42\n", "",
		},
		{"content type", get, "Content-Type: text/plain; version=0.0.4", ""},
		{"one request per connection", get + get, "Connection: close", ""},
		{"with a query", "GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "answer 42", ""},
		{"head", "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", "answer 42"},
		{
			"post", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 405 ", "answer 42",
		},
		{
			"allowed methods", "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "Allow: GET, HEAD",
			"answer 42",
		},
		{"options", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "answer 42"},
		{"root", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "answer 42"},
		{"below", "GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "answer 42"},
		{
			"debug", "GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "answer 42",
		},
		{
			"long header",
			"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 16<<10) + "\r\n\r\n",
			"HTTP/1.1 431 ", "answer 42",
		},
		{"good check", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nok\n", "answer 42"},
		{"bad check", "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 ", "answer 42"},
		{"reason", "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nnot ready\n", "answer 42"},
		{
			"post to check", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 405 ", "ok",
		},
		{
			"paths", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
			"there is only /metrics, /healthz, /readyz\n", "answer 42",
		},
		{"malformed", "\x00\r\n\r\n", "HTTP/1.1 400 ", "answer 42"},
	} {
		got := send(t, address, c.text)
		if !strings.Contains(got, c.want) || strings.Count(got, "HTTP/1.1") != 1 ||
			c.without != "" && strings.Contains(got, c.without) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSlowClients fills all connections with clients that send nothing, half of a request, or read
// nothing: another client must get a response after their timeouts.
func TestSlowClients(t *testing.T) {
	address := serve(t)
	for i := range 2 * maxConnections {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, []string{"", "GET /metrics HTTP/1.1\r\nHost:", get}[i%3])
	}
	start := time.Now()
	if got := send(t, address, get); !strings.Contains(got, "answer 42") {
		t.Errorf("%q", got)
	}
	took := time.Since(start)
	if t.Logf("response after %v", took); took > 5*readTimeout {
		t.Errorf("response after %v", took)
	}
}

// TestManyClients has more clients than connections: each must get a response.
func TestManyClients(t *testing.T) {
	address := serve(t)
	const clients = 20 * maxConnections
	results := make(chan error)
	for range clients {
		go func() {
			results <- func() error {
				c, err := net.Dial("tcp4", address)
				if err != nil {
					return err
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				if _, err := io.WriteString(c, get); err != nil {
					return err
				}
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					return err
				}
				defer r.Body.Close()
				text, err := io.ReadAll(r.Body)
				if err != nil || !strings.Contains(string(text), "answer 42") {
					return fmt.Errorf("%q, %w", text, err)
				}
				return nil
			}()
		}()
	}
	for range clients {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
