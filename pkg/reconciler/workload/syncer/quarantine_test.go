package syncer

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// newPoison is a pass over an object that has failed so many times in a row.
func newPoison(t *testing.T, failures int, enabled bool) *pass {
	t.Helper()
	up, err := compact(parse(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: "1", resourceVersion: "7", labels: {app: web}}, data: {key: value}}`))
	if err != nil {
		t.Fatal(err)
	}
	c := &ResourceController{
		target:   target{key: "here"},
		recovery: tmc.NewRecovery(tmc.RecoveryOptions{Enabled: enabled, Registerer: prometheus.NewRegistry()}),
	}
	c.loop = tmc.NewLoop(tmc.LoopOptions[Key]{Name: "test"})
	t.Cleanup(c.loop.Close)
	return &pass{c: c, key: Key{Name: "a"}, up: up, now: time.Unix(1000, 0), record: record{failures: failures}}
}

func TestWhoIsPutIntoQuarantine(t *testing.T) {
	poison := tmc.As(tmc.Validation, errors.New("spec: invalid"))
	for name, test := range map[string]struct {
		failures int
		err      error
		change   func(*pass)
		disabled bool
		want     bool
	}{
		"who failed too often for a reason of its own":                {quarantineAfter - 1, poison, nil, false, true},
		"not who failed a few times":                                  {quarantineAfter - 2, poison, nil, false, false},
		"not who failed for a reason of the server":                   {100, apierrors.NewServiceUnavailable("later"), nil, false, false},
		"not who failed for what others mend where nothing tells us":  {100, tmc.As(tmc.Quota, errors.New("exceeded")), nil, false, false},
		"not who did not fail":                                        {100, nil, nil, false, false},
		"not an orphan, which is nobody's to mend":                    {100, poison, func(p *pass) { p.up = nil }, false, false},
		"not who may have changed already, as the cache is behind us": {100, poison, func(p *pass) { p.record.upWritten = "8" }, false, false},
		"nobody without recovery":                                     {100, poison, nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoison(t, test.failures, !test.disabled)
			if test.change != nil {
				test.change(p)
			}
			p.judge(test.err)
			if got := p.record.quarantine != nil; got != test.want {
				t.Errorf("in quarantine: %t, want %t", got, test.want)
			}
		})
	}
}

func TestWhoIsReleasedFromQuarantine(t *testing.T) {
	copied := func(version string) *object {
		return &object{ObjectMeta: metav1.ObjectMeta{UID: "2", ResourceVersion: version}}
	}
	for name, test := range map[string]struct {
		change func(*pass)
		want   bool
	}{
		"not who is as before":            {func(*pass) {}, false},
		"not for what we write ourselves": {func(p *pass) { p.up = annotated(p.up, workloadv1alpha1.ConditionsAnnotation("here")) }, false},
		"nor for the version alone":       {func(p *pass) { o := *p.up; o.ResourceVersion = "9"; p.up = &o }, false},
		"whose annotations change":        {func(p *pass) { p.up = annotated(p.up, "team/a") }, true},
		"whose labels change":             {func(p *pass) { o := *p.up; o.Labels = nil; p.up = &o }, true},
		"whose content changes":           {func(p *pass) { o := *p.up; o.content = &content{[]byte(`{"data":{}}`)}; p.up = &o }, true},
		"who is being deleted":            {func(p *pass) { o := *p.up; o.DeletionTimestamp = &metav1.Time{}; p.up = &o }, true},
		"who is gone":                     {func(p *pass) { p.up = nil }, true},
		"whose copy changes":              {func(p *pass) { p.down = copied("2") }, true},
		"whose time has come":             {func(p *pass) { p.now = p.now.Add(quarantinePeriod) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoison(t, quarantineAfter-1, true)
			p.down = copied("1")
			p.judge(tmc.As(tmc.Validation, errors.New("spec: invalid")))
			test.change(p)
			if got := !p.held(); got != test.want {
				t.Fatalf("released: %t, want %t", got, test.want)
			}
			switch {
			case test.want && (p.record.quarantine != nil || p.record.failures != 0):
				t.Error("it begins anew")
			case !test.want && (p.after != quarantinePeriod || p.state(nil) != StateQuarantined):
				t.Errorf("it is looked at again after %s, and is %s", p.after, p.state(nil))
			}
		})
	}
}

func annotated(o *object, name string) *object {
	changed := *o
	changed.Annotations = map[string]string{name: "x"}
	return &changed
}

func TestQuarantineIsTold(t *testing.T) {
	p := newPoison(t, quarantineAfter-1, true)
	p.problem = &problem{workloadv1alpha1.ReasonInvalid, "spec: invalid"}
	first, changed := conditionsFor(p.conditionsOfPass(), "")
	if !changed || strings.Contains(first.(string), "Quarantined") {
		t.Errorf("got %v", first)
	}
	p.judge(tmc.As(tmc.Validation, errors.New("spec: invalid")))
	second, changed := conditionsFor(p.conditionsOfPass(), first.(string))
	var told []metav1.Condition
	if err := json.Unmarshal([]byte(second.(string)), &told); err != nil || !changed || len(told) != 2 {
		t.Fatalf("both are told: %v, %v", second, err)
	}
	if c := told[1]; c.Type != "Quarantined" || c.Status != metav1.ConditionTrue || c.Reason != "Validation" || !strings.Contains(c.Message, "5 times") {
		t.Errorf("got %+v", c)
	}
	p.now = p.now.Add(time.Hour)
	if _, changed := conditionsFor(p.conditionsOfPass(), second.(string)); changed {
		t.Error("that time passes is no news")
	}
	if event, ok := p.quarantineEvent(); !ok || event.Reason != "Quarantined" {
		t.Errorf("an Event says the same: %+v", event)
	}
}

func TestRecoveredCondition(t *testing.T) {
	report := func(strategy string, acts bool, state tmc.RecoveryState) tmc.RecoveryReport {
		return tmc.RecoveryReport{Strategy: strategy, Component: "link", Name: "kcp", Acts: acts, State: state, Category: tmc.Authentication, Hint: "renew it"}
	}
	for name, test := range map[string]struct {
		reports  []tmc.RecoveryReport
		disabled bool
		want     string
		message  string
	}{
		"nothing goes on":                      {nil, false, "True NothingToRecover", ""},
		"an object is tried again":             {[]tmc.RecoveryReport{report("sync", false, tmc.RecoveryRetrying)}, false, "True NothingToRecover", ""},
		"objects were given up":                {[]tmc.RecoveryReport{report("sync", false, tmc.RecoveryExhausted)}, false, "True ObjectsGivenUp", "1 objects"},
		"credentials are looked for":           {[]tmc.RecoveryReport{report("authentication", true, tmc.RecoveryWaiting)}, false, "False Recovering", "authentication of link kcp: Authentication (renew it)"},
		"credentials were looked for in vain":  {[]tmc.RecoveryReport{report("a", true, tmc.RecoveryActing), report("b", true, tmc.RecoveryExhausted)}, false, "False RecoveryExhausted", "b of link kcp"},
		"nothing is done by the user's choice": {nil, true, "Unknown RecoveryDisabled", "--enable-tmc-recovery=false"},
	} {
		t.Run(name, func(t *testing.T) {
			c := recovered(facts{recovery: test.reports, recovers: !test.disabled})
			if got := string(c.Status) + " " + c.Reason; got != test.want || !strings.Contains(c.Message, test.message) || c.Message == "" {
				t.Errorf("got %s: %s", got, c.Message)
			}
		})
	}
}
