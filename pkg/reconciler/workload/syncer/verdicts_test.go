package syncer

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/publish"
)

func TestWithVerdicts(t *testing.T) {
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	verdict := func(compatible metav1.ConditionStatus, reason, message string, available metav1.ConditionStatus) map[schema.GroupVersionResource]publish.Verdict {
		return map[schema.GroupVersionResource]publish.Verdict{widgets.WithVersion("v1"): {
			Compatible: &metav1.Condition{Status: compatible, Reason: reason, Message: message},
			Available:  &metav1.Condition{Status: available, Message: "tenants are not offered it"},
		}}
	}
	exported := []schema.GroupResource{widgets}
	for _, test := range []struct {
		name    string
		state   workloadv1alpha1.ResourceState // of the type, empty if it is not synced
		message string
		report  publish.Report
		want    string
	}{
		{name: "no verdict changes nothing", state: "Accepted", want: "Accepted "},
		{
			name: "the manager's no makes it incompatible", state: "Accepted",
			report: publish.Report{Verdicts: verdict("False", "Incompatible", "spec.size is a text", "True")},
			want:   "Incompatible the cluster does not take what tenants are offered: spec.size is a text",
		},
		{
			name: "what is narrower is accepted, with the fields", state: "Accepted",
			report: publish.Report{Verdicts: verdict("True", apiresourcev1alpha1.ReasonNarrower, "spec.color is not known", "True")},
			want:   "Accepted the cluster does not take all that tenants can create: spec.color is not known",
		},
		{
			name: "what cannot be listed is more urgent", state: "Degraded", message: "forbidden",
			report: publish.Report{Verdicts: verdict("False", "Incompatible", "spec.size is a text", "True")},
			want:   "Degraded forbidden",
		},
		{
			name:   "an exported resource that was not looked at",
			report: publish.Report{Exported: exported},
			want:   "Pending the cluster has not been looked at yet",
		},
		{
			name:   "one that the cluster does not serve",
			report: publish.Report{Exported: exported, Looked: true},
			want:   "Incompatible the physical cluster does not serve it",
		},
		{
			name:   "one that cannot be read",
			report: publish.Report{Exported: exported, Looked: true, Failed: map[schema.GroupResource]error{widgets: errors.New("no permission")}},
			want:   "Pending it cannot be imported: no permission",
		},
		{
			name:   "imports that cannot be written",
			report: publish.Report{Exported: exported, Looked: true, Problem: errors.New("forbidden there")},
			want:   "Pending it cannot be imported: forbidden there",
		},
		{
			name:   "one without a verdict",
			report: publish.Report{Exported: exported, Looked: true, Verdicts: map[schema.GroupVersionResource]publish.Verdict{widgets.WithVersion("v1"): {}}},
			want:   "Pending it is imported, and the workload manager has not looked at it yet",
		},
		{
			name:   "one that is not offered",
			report: publish.Report{Exported: exported, Looked: true, Verdicts: verdict("True", "AcceptsAll", "", "False")},
			want:   "Pending it is imported, but tenants are not offered it",
		},
		{
			name:   "one that is incompatible",
			report: publish.Report{Exported: exported, Looked: true, Verdicts: verdict("False", "Incompatible", "spec.size is a text", "False")},
			want:   "Incompatible the cluster does not take what tenants are offered: spec.size is a text",
		},
		{
			name:   "one that is offered",
			report: publish.Report{Exported: exported, Looked: true, Verdicts: verdict("True", "AcceptsAll", "", "True")},
			want:   "Pending tenants are offered it; it is not synced yet",
		},
		{
			name: "one that is synced is told once", state: "Accepted",
			report: publish.Report{Exported: exported, Looked: true, Verdicts: verdict("True", "AcceptsAll", "", "True")},
			want:   "Accepted ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var types []TypeStatus
			if test.state != "" {
				types = []TypeStatus{{Resource: widgets, Version: "v1", State: test.state, Message: test.message}}
			}
			got := withVerdicts(types, test.report)
			if len(got) != 1 {
				t.Fatalf("got %v", got)
			}
			if text := string(got[0].State) + " " + got[0].Message; !strings.HasPrefix(text, test.want) || test.want == "Accepted " && text != test.want {
				t.Errorf("got %q, want %q", text, test.want)
			}
		})
	}
}
