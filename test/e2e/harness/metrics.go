package harness

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Ask sends a GET.
func Ask(ctx context.Context, url string) (code int, body string, err error) {
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

// Scrape reads all metrics of a running program.
func (s *Program) Scrape() map[string]*dto.MetricFamily {
	s.T.Helper()
	code, body := s.Ask("metrics", "/metrics")
	if code != http.StatusOK {
		s.T.Fatalf("scraping: %d\n%s", code, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return Must(parser.TextToMetricFamilies(bytes.NewBufferString(body)))(s.T)
}

// Sum adds up the values of a metric's series that have all these labels, written "name=value". A histogram's value is
// the number of its observations.
func Sum(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
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

// Seconds adds up what a histogram of durations has observed, over the series that have all these labels.
func Seconds(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	total := 0.0
	for _, metric := range families[name].GetMetric() {
		if labelled(metric, labels) {
			total += metric.GetHistogram().GetSampleSum()
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

// Writes are how many requests the program sent to a server that were not reads.
func (s *Program) Writes(server string) float64 {
	s.T.Helper()
	families := s.Scrape()
	all := Sum(families, "rest_client_requests_total", "server="+server)
	return all - Sum(families, "rest_client_requests_total", "server="+server, "method=GET")
}

// DocumentedMetrics are the names that the reference has of a program's metrics.
func DocumentedMetrics(t *testing.T, reference, program string) []string {
	t.Helper()
	page := Must(os.ReadFile(reference))(t)
	_, section, _ := strings.Cut(string(page), "\n## "+program+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section, -1) {
		names = append(names, row[1])
	}
	return names
}
