package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Observer scrapes a program over and over, and remembers which values each metric has had.
type Observer struct {
	program *Program

	lock   sync.Mutex
	values map[string]map[string]bool
	// scrapes is how many there were, shown in how many of them each metric was.
	scrapes int
	shown   map[string]int
}

// Observe starts to scrape, until the test ends.
func (s *Program) Observe() *Observer {
	o := &Observer{program: s, values: map[string]map[string]bool{}, shown: map[string]int{}}
	url := s.URL("metrics", "/metrics")
	Repeat(s.T, func() error {
		_, body, err := Ask(s.T.Context(), url)
		if err != nil {
			return err
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body))
		if err != nil {
			return err
		}
		o.note(families)
		return nil
	})
	return o
}

func (o *Observer) note(families map[string]*dto.MetricFamily) {
	o.lock.Lock()
	defer o.lock.Unlock()
	o.scrapes++
	for name, family := range families {
		o.shown[name]++
		if o.values[name] == nil {
			o.values[name] = map[string]bool{}
		}
		o.values[name][fmt.Sprint(family.GetMetric())] = true
	}
}

// Constants are the metrics that are what they are for as long as a process lives, and who sees to it that they are right.
var Constants = map[string]string{
	"workload_build_info":        "always 1; Observer.Changed looks at it",
	"kubernetes_feature_enabled": "what the process was started with; the tests of the feature gates start it both ways",
}

// Changed checks that every documented metric has been seen to change, but for the constants, and that none is exposed that is not
// documented. One that has series only from the first time on that something happens has changed when they appear. The reference is a path, program the title of its section.
func (o *Observer) Changed(reference, program string) {
	t := o.program.T
	t.Helper()
	names := DocumentedMetrics(t, reference, program)
	if len(names) < 20 {
		t.Errorf("the reference names %v", names)
	}
	Eventually(t, func() error {
		if missing := o.unchanged(names); len(missing) > 0 {
			return fmt.Errorf("never seen to change: %s", strings.Join(missing, ", "))
		}
		return nil
	})
	if unknown := o.undocumented(names); len(unknown) > 0 {
		t.Errorf("exposed but not documented: %s; run make generate", strings.Join(unknown, ", "))
	}
	if Sum(o.program.Scrape(), "workload_build_info", "program="+program) != 1 {
		t.Error("workload_build_info is not 1")
	}
	o.conventional()
}

func (o *Observer) unchanged(names []string) []string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, constant := Constants[name]
		appeared := o.shown[name] > 0 && o.shown[name] < o.scrapes
		return constant || appeared || len(o.values[name]) > 1
	})
}

func (o *Observer) undocumented(names []string) (undocumented []string) {
	o.lock.Lock()
	defer o.lock.Unlock()
	elsewhere := regexp.MustCompile("^(go|process|promhttp)_")
	for name := range o.values {
		if !elsewhere.MatchString(name) && !slices.Contains(names, name) {
			undocumented = append(undocumented, name)
		}
	}
	return undocumented
}

// conventional checks what is exposed against Prometheus' conventions, in each of the forms that a server may ask for.
func (o *Observer) conventional() {
	t := o.program.T
	t.Helper()
	_, text := o.program.Ask("metrics", "/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	for _, problem := range problems {
		if !strings.HasPrefix(problem.Metric, "go_") { // not ours
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
	if err != nil {
		t.Error(err)
	}
	if text := o.program.OpenMetrics(); !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("this is no OpenMetrics:\n%s", text)
	}
	for name, family := range o.protobuf() {
		for _, m := range family.GetMetric() {
			// Those of the Go runtime and its own bucket boundaries are not ours to choose.
			if h := m.GetHistogram(); h != nil && !strings.HasPrefix(name, "go_") && (h.GetSchema() == 0 || len(h.GetBucket()) == 0) {
				t.Errorf("%s is not a native histogram with classic buckets", name)
			}
		}
	}
}

// NamesNone checks that labels are bounded: none of these names of objects, namespaces and workspaces is told.
func (o *Observer) NamesNone(names ...string) {
	t := o.program.T
	t.Helper()
	_, text := o.program.Ask("metrics", "/metrics")
	for _, name := range names {
		if regexp.MustCompile(`"[^"]*\b` + regexp.QuoteMeta(name) + `\b[^"]*"`).MatchString(text) {
			t.Errorf("a label names %s", name)
		}
	}
}

// OpenMetrics is the form that has exemplars.
func (s *Program) OpenMetrics() string {
	s.T.Helper()
	_, body := s.scrapeAs("application/openmetrics-text; version=1.0.0")
	return string(body)
}

func (s *Program) scrapeAs(accept string) (contentType string, body []byte) {
	s.T.Helper()
	request := Must(http.NewRequestWithContext(s.T.Context(), http.MethodGet, s.URL("metrics", "/metrics"), http.NoBody))(s.T)
	request.Header.Set("Accept", accept)
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		s.T.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.Header.Get("Content-Type"), Must(io.ReadAll(response.Body))(s.T)
}

// protobuf is the form in which histograms are native.
func (o *Observer) protobuf() map[string]*dto.MetricFamily {
	t := o.program.T
	t.Helper()
	contentType, body := o.program.scrapeAs("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	decoder := expfmt.NewDecoder(bytes.NewReader(body), expfmt.ResponseFormat(http.Header{"Content-Type": {contentType}}))
	families := map[string]*dto.MetricFamily{}
	for {
		family := &dto.MetricFamily{}
		err := decoder.Decode(family)
		if errors.Is(err, io.EOF) {
			return families
		}
		if err != nil {
			t.Fatalf("decoding %s: %v", contentType, err)
		}
		families[family.GetName()] = family
	}
}
