package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// recovering is a recovery as /debug/recovery shows it.
type recovering struct {
	Strategy, Component, Subject, Category, State, Error string
	Attempts                                             int
}

// recoveries reads what the syncer shows of its recoveries.
func (s *syncer) recoveries() (page struct {
	Enabled        bool
	Circuits       []struct{ Server, State string }
	Active, Recent []recovering
}, text string,
) {
	s.T.Helper()
	code, body := s.Ask("metrics", "/debug/recovery")
	if code != 200 {
		s.T.Fatalf("/debug/recovery: %d\n%s", code, body)
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		s.T.Fatalf("/debug/recovery: %v\n%s", err, body)
	}
	return page, body
}

// quarantined checks the second condition that the syncer tells on an object.
func (tn *tenant) quarantined(reason string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		raw := u.GetAnnotations()[workloadv1alpha1.ConditionsAnnotation(tn.key)]
		var conditions []metav1.Condition
		if err := json.Unmarshal([]byte(raw), &conditions); err != nil || len(conditions) != 2 {
			return fmt.Errorf("not in quarantine: %s", raw)
		}
		if c := conditions[1]; c.Type != workloadv1alpha1.ConditionQuarantined || c.Status != metav1.ConditionTrue || c.Reason != reason {
			return fmt.Errorf("got %+v", c)
		}
		return nil
	}
}

// An object that cannot be synced for a reason of its own is left alone after some attempts, which everybody sees and which
// delays no other; and it is synced at once when it has changed.
func TestPoisonObjectIsQuarantinedAndReleased(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer(onlyCore)
	annotation := workloadv1alpha1.SpecDiffAnnotation(tn.key)
	tn.up.Create(fmt.Sprintf(`{apiVersion: v1, kind: Secret, metadata: {name: poison, namespace: web, annotations: {%s: "[]"}}, stringData: {password: sesame}}`, annotation))
	tn.up.Eventually("Secret", "web", "poison", all(tn.says(workloadv1alpha1.ReasonInvalidAnnotation, annotation), tn.quarantined("Projection")))
	tn.awaitEvent("web", "poison", workloadv1alpha1.ConditionQuarantined)
	s.awaitMetric(exactly(1), "workload_syncer_objects", "resource=secrets", "state=quarantined")
	s.awaitMetric(exactly(1), "recovery_active", "strategy=sync", "category=Projection")
	page, text := s.recoveries()
	if len(page.Active) != 1 || page.Active[0].Strategy != "sync" || page.Active[0].State != "Exhausted" || page.Active[0].Component != "secrets" ||
		!strings.HasSuffix(page.Active[0].Subject, "|web/poison") || strings.Contains(text, "sesame") {
		t.Errorf("got %s", text)
	}
	tn.awaitTarget(condition(workloadv1alpha1.ConditionRecovered, "True", workloadv1alpha1.ReasonObjectsGivenUp, "1 objects"))
	tn.putConfigMap("healthy")
	retries := sum(s.Scrape(), "workload_syncer_retries_total", "resource=secrets")
	remains(t, 3*time.Second, func() error {
		if now := sum(s.Scrape(), "workload_syncer_retries_total", "resource=secrets"); now != retries {
			return fmt.Errorf("%v retries, %v before", now, retries)
		}
		return nil
	})

	tn.up.Merge("Secret", "web", "poison", fmt.Sprintf(`metadata: {annotations: {%s: null}}`, annotation))
	tn.copyOf("Secret", "poison", nil)
	tn.up.Eventually("Secret", "web", "poison", tn.saysNothing)
	s.awaitMetric(exactly(0), "workload_syncer_objects", "state=quarantined")
	s.awaitMetric(atLeast(1), "recovery_outcomes_total", "strategy=sync", "outcome=recovered")
	tn.awaitTarget(condition(workloadv1alpha1.ConditionRecovered, "True", workloadv1alpha1.ReasonNothingToRecover))
}
