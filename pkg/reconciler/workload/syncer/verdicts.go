package syncer

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/publish"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// withVerdicts adds to how the types are doing what the workload manager says of the cluster's version of them, and the
// exported resources that are not synced yet. The conditions do not depend on it: what this cluster does not take in full it
// may still run most of.
func withVerdicts(types []TypeStatus, report publish.Report) []TypeStatus {
	out := make([]TypeStatus, 0, len(types)+len(report.Exported))
	known := map[schema.GroupResource]bool{}
	for _, t := range types {
		known[t.Resource] = true
		out = append(out, judged(t, report.Verdicts[t.Resource.WithVersion(t.Version)].Compatible))
	}
	for _, gr := range report.Exported {
		if !known[gr] {
			known[gr] = true
			out = append(out, waiting(gr, report))
		}
	}
	slices.SortFunc(out, func(a, b TypeStatus) int { return strings.Compare(a.Resource.String(), b.Resource.String()) })
	return out
}

// judged is the type's own state, unless the cluster and what tenants are offered have nothing in common. What keeps it from
// being synced at all is more urgent than either.
func judged(t TypeStatus, verdict *metav1.Condition) TypeStatus {
	switch {
	case verdict == nil || t.State != workloadv1alpha1.ResourceAccepted && t.State != workloadv1alpha1.ResourcePending:
	case verdict.Status == metav1.ConditionFalse:
		t.State, t.Message = workloadv1alpha1.ResourceIncompatible, "the cluster does not take what tenants are offered: "+verdict.Message
	case verdict.Reason == apiresourcev1alpha1.ReasonNarrower && t.State == workloadv1alpha1.ResourceAccepted:
		t.Message = "the cluster does not take all that tenants can create: " + verdict.Message
	}
	return t
}

// waiting is an exported resource that is not synced: what it waits for.
func waiting(gr schema.GroupResource, report publish.Report) TypeStatus {
	version, verdict, imported := report.Of(gr)
	t := TypeStatus{Resource: gr, Version: version, State: workloadv1alpha1.ResourcePending}
	switch why := cmp.Or(report.Failed[gr], report.Problem); {
	case imported && verdict.Compatible != nil && verdict.Compatible.Status == metav1.ConditionFalse:
		t.State, t.Message = workloadv1alpha1.ResourceIncompatible, "the cluster does not take what tenants are offered: "+verdict.Compatible.Message
	case why != nil:
		t.Message = "it cannot be imported: " + why.Error() + "; " + tmc.CategoryOf(why).Hint()
	case !report.Looked:
		t.Message = "the cluster has not been looked at yet"
	case !imported:
		t.State, t.Message = workloadv1alpha1.ResourceIncompatible, "the physical cluster does not serve it"
	case verdict.Available == nil:
		t.Message = "it is imported, and the workload manager has not looked at it yet"
	case verdict.Available.Status != metav1.ConditionTrue:
		t.Message = "it is imported, but " + verdict.Available.Message
	default:
		t.Message = "tenants are offered it; it is not synced yet"
	}
	return t
}

// sameStates compares what is told of the resources, but for the numbers of objects, which every heartbeat tells.
func sameStates(a, b []workloadv1alpha1.SyncedResource) bool {
	return slices.EqualFunc(a, b, func(x, y workloadv1alpha1.SyncedResource) bool {
		return x.Group == y.Group && x.Resource == y.Resource && x.State == y.State && x.Message == y.Message
	})
}
