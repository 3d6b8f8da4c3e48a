package v1alpha1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarizingRules(t *testing.T) {
	rule := func(path string, promote bool) SummarizingRule {
		return SummarizingRule{FieldPath: path, PromoteToUpstream: promote}
	}
	for _, tc := range []struct {
		what, annotation string
		want             []SummarizingRule
		explicit         bool
		says             string
	}{
		{"without rules, the status is reported and promoted", ``, []SummarizingRule{rule("status", true)}, false, ""},
		{"with rules, what they say", `[{"fieldPath":"status","promoteToUpstream":true},{"fieldPath":"spec.clusterIP"}]`, []SummarizingRule{rule("status", true), rule("spec.clusterIP", false)}, true, ""},
		{"with none at all, nothing is reported", `[]`, []SummarizingRule{}, true, ""},
		{"parts of a status", `[{"fieldPath":"status.loadBalancer"}]`, []SummarizingRule{rule("status.loadBalancer", false)}, true, ""},
		{"no JSON", `status`, nil, false, "must be a JSON list"},
		{"metadata", `[{"fieldPath":"metadata.labels"}]`, nil, false, `"metadata.labels": must be`},
		{"the whole spec", `[{"fieldPath":"spec"}]`, nil, false, "must be"},
		{"data", `[{"fieldPath":"data.password"}]`, nil, false, "must be"},
		{"a hole", `[{"fieldPath":"spec..x"}]`, nil, false, "no path"},
		{"twice", `[{"fieldPath":"status"},{"fieldPath":"status.phase"}]`, nil, false, "overlaps"},
		{"names that only begin alike", `[{"fieldPath":"spec.a"},{"fieldPath":"spec.ab"}]`, []SummarizingRule{rule("spec.a", false), rule("spec.ab", false)}, true, ""},
	} {
		t.Run(tc.what, func(t *testing.T) {
			rules, explicit, err := SummarizingRules(map[string]string{SummarizingAnnotation: tc.annotation})
			if tc.says != "" {
				if err == nil || !strings.Contains(err.Error(), tc.says) || explicit || !PromotesStatus(rules) {
					t.Errorf("got %v, %t, %v", rules, explicit, err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, rules); diff != "" || explicit != tc.explicit || err != nil {
				t.Errorf("explicit %t, %v, -want +got:\n%s", explicit, err, diff)
			}
		})
	}
}
