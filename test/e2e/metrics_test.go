//go:build integration

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"

	"palisade/test/engine"
)

const (
	lxcfsMetrics  = "/run/lxcfs/metrics.sock"
	brokerMetrics = "/run/authz-broker/metrics.sock"
	// forAddress permits the units to listen on a TCP address.
	forAddress = "[Service]\nPrivateNetwork=no\nRestrictAddressFamilies=AF_INET AF_INET6\nIPAddressAllow=localhost\n"
)

// turnMetricsOn configures both services to serve metrics, and checks them.
func (s *story) turnMetricsOn() {
	s.file("/etc/default/lxcfs", "LXCFS_OPTIONS=--log-level debug --metrics-socket "+lxcfsMetrics+" --metrics 127.0.0.1:9436\n")
	s.file("/etc/default/authz-broker", "AUTHZ_BROKER_OPTIONS=--metrics-socket "+brokerMetrics+" --metrics 127.0.0.1:9437\n")
	s.file("/etc/systemd/system/lxcfs.service.d/metrics.conf", strings.Replace(forAddress, "PrivateNetwork=no\n", "", 1))
	s.file("/etc/systemd/system/authz-broker.service.d/metrics.conf", forAddress)
	s.do("systemctl", "daemon-reload")
	s.disturb("restart", true, "systemctl", "restart", "lxcfs")
	s.do("systemctl", "restart", "authz-broker")
	s.docker("bob", "ps", "--quiet")
	s.serves(lxcfsMetrics, "palisade_lxcfs_worker_up 1", "palisade_lxcfs_containers 3")
	s.serves(brokerMetrics, `palisade_authz_policy_loads_total{result="success"} 1`, `policy="watchers"`)
	for port, metric := range map[string]string{"9436": "palisade_lxcfs_worker_up 1", "9437": `policy="watchers"`} {
		text := s.do("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/`+port+`; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; grep -v '^#' <&3`)
		s.check(strings.Contains(text, metric), "`%s` is served on port %s", metric, port)
	}
}

// serves waits until a service serves the metrics at its socket.
func (s *story) serves(socket string, metrics ...string) {
	s.Helper()
	for _, metric := range metrics {
		s.waitFor("`"+metric+"` is served at "+socket, func() bool { return strings.Contains(s.scrape(socket), metric) })
	}
}

// scrape returns the metrics at a service's socket, or "".
func (s *story) scrape(socket string) string {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.Path(socket))
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, Timeout: engine.WaitTime}).Get("http://localhost/metrics")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return ""
	}
	return string(text)
}
