package tmc

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Exposition is where a program tells how it is doing. A port of 0 is any free one.
type Exposition struct {
	BindAddress             string
	MetricsPort, HealthPort int
	// EnableMetrics, EnableHealth and EnableProfiling serve /metrics with the program's pages, the probes, and
	// /debug/pprof beside the metrics.
	EnableMetrics, EnableHealth, EnableProfiling bool
}

// Page is something that a program tells of itself beside its metrics.
type Page struct {
	Path    string
	Handler http.Handler
}

// Parts listen at once and serve when they run: a port that is taken is an error here.
func (e Exposition) Parts(health *Health, registry *prometheus.Registry, pages ...Page) ([]Part, error) {
	var parts []Part
	if e.EnableHealth {
		part, err := e.part("health", "--health-port", e.HealthPort, health.Handler())
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	if e.EnableMetrics || e.EnableProfiling {
		part, err := e.part("metrics", "--metrics-port", e.MetricsPort, e.metricsHandler(registry, pages))
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (e Exposition) metricsHandler(registry *prometheus.Registry, pages []Page) http.Handler {
	mux := http.NewServeMux()
	if e.EnableMetrics {
		mux.Handle("/metrics", Handler(registry))
		for _, page := range pages {
			mux.Handle(page.Path, page.Handler)
		}
	}
	if e.EnableProfiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (e Exposition) part(name, flag string, port int, handler http.Handler) (Part, error) {
	part, _, err := ServePart(name, net.JoinHostPort(e.BindAddress, strconv.Itoa(port)), handler)
	if err != nil {
		return Part{}, fmt.Errorf("%s: %w", flag, err)
	}
	return part, nil
}
