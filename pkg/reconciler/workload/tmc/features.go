package tmc

import "github.com/prometheus/client_golang/prometheus"

// Feature is one that can be switched.
type Feature struct {
	// Stage is ALPHA, BETA, DEPRECATED or empty for one that is there to stay, as everywhere in Kubernetes.
	Stage   string
	Enabled bool
}

// Features are those of a program, by name.
type Features map[string]Feature

// Enabled reports whether the feature is to be there.
func (f Features) Enabled(name string) bool { return f[name].Enabled }

// Register tells Prometheus of them, in the form that all Kubernetes components use.
func (f Features) Register(reg prometheus.Registerer) {
	metric := register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kubernetes_feature_enabled", Help: "1 for a feature that is enabled, 0 for one that is not, by name and stage.",
	}, []string{"name", "stage"}))
	for name, feature := range f {
		value := 0.0
		if feature.Enabled {
			value = 1
		}
		metric.WithLabelValues(name, feature.Stage).Set(value)
	}
}
