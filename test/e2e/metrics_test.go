package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func ask(ctx context.Context, url string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	return response.StatusCode, string(raw), err
}

// scrape reads all metrics of a running syncer.
func (s *syncer) scrape() map[string]*dto.MetricFamily {
	s.t.Helper()
	code, body := s.ask("metrics", "/metrics")
	if code != http.StatusOK {
		s.t.Fatalf("scraping: %d\n%s", code, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return must(parser.TextToMetricFamilies(bytes.NewBufferString(body)))(s.t)
}

// sum adds up the values of a metric's series that have all these labels, written "name=value". A histogram's value is
// the number of its observations.
func sum(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	total := 0.0
	for _, metric := range families[name].GetMetric() {
		if !labelled(metric, labels) {
			continue
		}
		switch {
		case metric.GetCounter() != nil:
			total += metric.GetCounter().GetValue()
		case metric.GetGauge() != nil:
			total += metric.GetGauge().GetValue()
		case metric.GetHistogram() != nil:
			total += float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return total
}

func labelled(metric *dto.Metric, labels []string) bool {
	for _, wanted := range labels {
		name, value, _ := strings.Cut(wanted, "=")
		found := false
		for _, pair := range metric.GetLabel() {
			found = found || pair.GetName() == name && pair.GetValue() == value
		}
		if !found {
			return false
		}
	}
	return true
}

// writes are how many requests the syncer sent to a server that were not reads.
func (s *syncer) writes(server string) float64 {
	s.t.Helper()
	families := s.scrape()
	all := sum(families, "rest_client_requests_total", "server="+server)
	return all - sum(families, "rest_client_requests_total", "server="+server, "method=GET")
}
