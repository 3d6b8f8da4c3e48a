package syncer

import "github.com/prometheus/client_golang/prometheus"

// Describe tells of every metric that this syncer serves, whether it has a value yet or not.
func (s *Syncer) Describe(out chan<- *prometheus.Desc) { s.registry.Describe(out) }
