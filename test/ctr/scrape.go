package ctr

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics holds the metric families of a scrape by name.
type Metrics map[string]*dto.MetricFamily

// Scrape requests metrics from a TCP address, or from a unix socket if address is a path.
func Scrape(ctx context.Context, address string) (Metrics, error) {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: %s", address, answer.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(answer.Body)
}

// Value returns the value of a counter or gauge, or the number of samples of a histogram, and -1 if
// there is no such metric. Labels are written as in `file="meminfo"`, in the order of their names.
func (m Metrics) Value(name, labels string) float64 {
	family := m[name]
	if family == nil {
		return -1
	}
	for _, metric := range family.GetMetric() {
		var own []string
		for _, l := range metric.GetLabel() {
			own = append(own, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
		}
		if strings.Join(own, ",") != labels {
			continue
		}
		switch family.GetType() {
		case dto.MetricType_COUNTER:
			return metric.GetCounter().GetValue()
		case dto.MetricType_GAUGE:
			return metric.GetGauge().GetValue()
		case dto.MetricType_HISTOGRAM:
			return float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return -1
}
