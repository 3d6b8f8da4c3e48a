package syncer

import (
	"sync/atomic"
	"time"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// settings are what can change while the syncer works.
type settings struct {
	filters             Filters
	resyncPeriod        time.Duration
	statusWindow        time.Duration
	namespaceCleanDelay time.Duration
	orphanGrace         time.Duration
	conflictPolicy      workloadv1alpha1.ConflictPolicy
}

func settingsOf(config *Config) settings {
	return settings{
		filters: config.Filters, resyncPeriod: config.ResyncPeriod, statusWindow: config.StatusWindow,
		namespaceCleanDelay: config.NamespaceCleanDelay, orphanGrace: config.OrphanGracePeriod, conflictPolicy: config.ConflictPolicy,
	}
}

// live holds the settings of now, for all who need them: they change all at once.
type live struct{ atomic.Pointer[settings] }

func newLive(now settings) *live {
	l := &live{}
	l.Store(&now)
	return l
}
