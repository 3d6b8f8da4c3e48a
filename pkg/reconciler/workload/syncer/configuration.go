package syncer

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// adopt takes up what of another configuration can change while the syncer works; nothing else differs.
func (s *Syncer) adopt(fresh *Config) {
	now := settingsOf(fresh)
	s.settings.Store(&now)
	s.limit(fresh)
	_ = s.tracing.SetSampling(fresh.Tracing.SamplingRatio) // it fails for an environment only that no process starts with
	if engine := s.engine.Load(); engine != nil {          // one that is made later starts with them
		engine.SettingsChanged()
	}
}

func (s *Syncer) limit(config *Config) {
	s.kcp.Limit(config.KCP.QPS, config.KCP.Burst)
	s.cluster.Limit(config.Cluster.QPS, config.Cluster.Burst)
}

// configurationCurrent tells how the syncer stands to its configuration file.
func configurationCurrent(now tmc.ConfigState) metav1.Condition {
	c := metav1.Condition{Type: workloadv1alpha1.ConditionConfigurationCurrent, Status: metav1.ConditionFalse, Message: truncate(now.Message, 32768)}
	switch {
	case now.Verdict == tmc.ConfigRejected:
		c.Reason = workloadv1alpha1.ReasonConfigurationRejected
	case now.Verdict == tmc.ConfigNeedsRestart:
		c.Reason = workloadv1alpha1.ReasonRestartRequired
	case now.Path == "":
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, workloadv1alpha1.ReasonConfigurationInForce, "the syncer has no configuration file"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, workloadv1alpha1.ReasonConfigurationInForce, now.Path+" is in force"
	}
	return c
}

// tellConfiguration emits an Event beside the SyncTarget if its condition about the configuration has changed.
func (r *StatusReporter) tellConfiguration(ctx context.Context, before []metav1.Condition, st *workloadv1alpha1.SyncTarget) {
	was := meta.FindStatusCondition(before, workloadv1alpha1.ConditionConfigurationCurrent)
	is := meta.FindStatusCondition(st.Status.Conditions, workloadv1alpha1.ConditionConfigurationCurrent)
	if was == nil || is == nil || was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	event := tmc.Event{
		About: st, Kind: workloadv1alpha1.SchemeGroupVersion.WithKind("SyncTarget"), Component: workloadv1alpha1.FieldManager, Host: st.Name,
		Now: r.clock.Now(), Type: corev1.EventTypeNormal, Reason: is.Reason, Message: is.Message,
	}
	if is.Status != metav1.ConditionTrue {
		event.Type = corev1.EventTypeWarning
	}
	if err := tmc.Emit(ctx, r.workspace, event); err != nil { // the condition says the same
		klog.FromContext(ctx).V(2).Info("An Event about the configuration could not be sent", "why", err.Error())
	}
}
