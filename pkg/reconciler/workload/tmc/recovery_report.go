package tmc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// recoveryMetrics are labelled by strategy and category, both of which are few.
type recoveryMetrics struct {
	circuit     *prometheus.GaugeVec
	transitions *prometheus.CounterVec
	probes      *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	outcomes    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	active      *prometheus.Desc
	read        func() []RecoveryReport
}

func newRecoveryMetrics(reg prometheus.Registerer, read func() []RecoveryReport) *recoveryMetrics {
	m := &recoveryMetrics{
		read: read,
		circuit: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "recovery_circuit_state",
			Help: "0: work at the server goes on; 1: the server is being probed; 2: work waits, because the server does not answer.",
		}, []string{"server"})),
		transitions: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "recovery_circuit_transitions_total",
			Help: "Changes of a circuit's state, by the new state.",
		}, []string{"server", "state"})),
		probes: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "recovery_circuit_probes_total",
			Help: "Probes of a server that did not answer, by what came of them.",
		}, []string{"server", "result"})),
		attempts: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "recovery_attempts_total",
			Help: "Attempts to recover from failures, by strategy and category of the error.",
		}, []string{"strategy", "category"})),
		outcomes: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "recovery_outcomes_total",
			Help: "What came of recoveries: recovered; exhausted (all attempts in vain, somebody has to look); abandoned (what failed is no longer there).",
		}, []string{"strategy", "category", "outcome"})),
		duration: register(reg, prometheus.NewHistogramVec(DurationHistogram("recovery_duration_seconds",
			"Time from the first failure to the end of the recovery."), []string{"strategy"})),
		active: prometheus.NewDesc("recovery_active",
			"Recoveries that go on, by strategy and category of the error.", []string{"strategy", "category"}, nil),
	}
	reg.MustRegister(m)
	return m
}

func (m *recoveryMetrics) outcome(strategy string, category Category, outcome RecoveryState) {
	m.outcomes.WithLabelValues(strategy, string(category), strings.ToLower(string(outcome))).Inc()
}

// Describe implements prometheus.Collector.
func (m *recoveryMetrics) Describe(out chan<- *prometheus.Desc) { out <- m.active }

// Collect implements prometheus.Collector.
func (m *recoveryMetrics) Collect(out chan<- prometheus.Metric) {
	type labels struct {
		strategy string
		category Category
	}
	counts := map[labels]int{}
	for _, report := range m.read() {
		counts[labels{report.Strategy, report.Category}]++
	}
	for l, n := range counts {
		out <- prometheus.MustNewConstMetric(m.active, prometheus.GaugeValue, float64(n), l.strategy, string(l.category))
	}
}

// shownRecoveries bounds how many of each strategy are shown.
const shownRecoveries = 100

// recoveryPage is what /debug/recovery shows.
type recoveryPage struct {
	Enabled    bool             `json:"enabled"`
	Circuits   []circuitReport  `json:"circuits"`
	Strategies []strategyReport `json:"strategies"`
	// Active are those that go on, Recent the last that ended, the youngest first.
	Active []RecoveryReport `json:"active"`
	Recent []RecoveryReport `json:"recent"`
}

type circuitReport struct {
	Server   string       `json:"server"`
	State    CircuitState `json:"state"`
	Failures int          `json:"failures"`
	Error    string       `json:"error,omitempty"`
	NextTry  time.Time    `json:"nextTry,omitzero"`
}

type strategyReport struct {
	Name string `json:"name"`
	// Active are how many recoveries go on; Untracked failures were beyond those that are followed one by one.
	Active    int `json:"active"`
	Untracked int `json:"untracked,omitempty"`
	// Acts: it does something itself; else the work loops do.
	Acts       bool       `json:"acts"`
	Categories []Category `json:"categories,omitempty"`
	Attempts   int        `json:"attempts,omitempty"`
	Cooldown   string     `json:"cooldown,omitempty"`
}

// Handler shows what is being recovered from, as JSON. It holds no content of any object.
func (r *Recovery) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-cache, private")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(r.page()) // the client went away
	})
}

func (r *Recovery) page() recoveryPage {
	page := recoveryPage{Enabled: r.Enabled(), Circuits: r.circuits(), Active: []RecoveryReport{}, Recent: []RecoveryReport{}}
	counts := map[string]int{}
	for _, report := range r.Active() {
		counts[report.Strategy]++
		if counts[report.Strategy] <= shownRecoveries {
			page.Active = append(page.Active, report)
		}
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	page.Recent = append(page.Recent, r.recent...)
	slices.Reverse(page.Recent)
	for i := range r.opts.Strategies {
		s := &r.opts.Strategies[i]
		shown := strategyReport{
			Name: s.Name, Active: counts[s.Name], Untracked: r.untracked[s.Name], Acts: s.Act != nil, Categories: s.Categories, Attempts: s.Attempts,
		}
		if s.Cooldown > 0 {
			shown.Cooldown = s.Cooldown.String()
		}
		page.Strategies = append(page.Strategies, shown)
	}
	return page
}

func (r *Recovery) circuits() []circuitReport {
	r.lock.Lock()
	breakers := make([]*Breaker, 0, len(r.breakers))
	for _, b := range r.breakers {
		breakers = append(breakers, b)
	}
	r.lock.Unlock()
	slices.SortFunc(breakers, func(a, b *Breaker) int { return strings.Compare(a.server, b.server) })
	all := make([]circuitReport, 0, len(breakers))
	for _, b := range breakers {
		all = append(all, b.report())
	}
	return all
}

// Check is a [Check.Run]: it is degraded while a recovery that does something itself has done so in vain.
func (r *Recovery) Check(context.Context) error {
	var exhausted []string
	for _, report := range r.Active() {
		if report.Acts && report.State == RecoveryExhausted {
			exhausted = append(exhausted, fmt.Sprintf("%s of %s %s: %s (%s)", report.Strategy, report.Component, report.Name, report.Error, report.Hint))
		}
	}
	if len(exhausted) == 0 {
		return nil
	}
	return Degraded(errors.New(strings.Join(exhausted, "; ")))
}
