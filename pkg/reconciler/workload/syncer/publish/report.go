package publish

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
)

// Report is how the imports are doing.
type Report struct {
	// Problem is why they cannot be kept right, nil if they can be.
	Problem error
	// Exported are the resources that the operator asks for; Looked: it is known what the cluster serves of them.
	Exported []schema.GroupResource
	Looked   bool
	// Failed are resources that were asked for and of which nothing can be said, and why.
	Failed map[schema.GroupResource]error
	// Verdicts are what the workload manager says about each import.
	Verdicts map[schema.GroupVersionResource]Verdict
}

// Verdict is what the workload manager says about an import; nil conditions mean that it has not yet.
type Verdict struct{ Compatible, Available *metav1.Condition }

// Report tells how the imports are doing. It sends no request.
func (p *Publisher) Report() Report {
	r := Report{Exported: p.options.Exported(), Verdicts: map[schema.GroupVersionResource]Verdict{}}
	for _, i := range p.imports() {
		r.Verdicts[i.Spec.GVR()] = Verdict{
			Compatible: meta.FindStatusCondition(i.Status.Conditions, apiresourcev1alpha1.ImportCompatible),
			Available:  meta.FindStatusCondition(i.Status.Conditions, apiresourcev1alpha1.ImportAvailable),
		}
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	r.Problem, r.Looked, r.Failed = p.unlisted, p.looked, p.failed
	if r.Problem == nil {
		r.Problem = p.unkept
	}
	return r
}

// Of is the verdict about the version of a resource that is offered, or else about the latest one that was imported.
func (r Report) Of(gr schema.GroupResource) (version string, verdict Verdict, imported bool) {
	for gvr, v := range r.Verdicts {
		offered := v.Available != nil && v.Available.Status == metav1.ConditionTrue
		if gvr.GroupResource() == gr && (!imported || offered || gvr.Version > version && !r.isOffered(gr, version)) {
			version, verdict, imported = gvr.Version, v, true
		}
	}
	return version, verdict, imported
}

func (r Report) isOffered(gr schema.GroupResource, version string) bool {
	v := r.Verdicts[gr.WithVersion(version)]
	return v.Available != nil && v.Available.Status == metav1.ConditionTrue
}

// OfferedResources are those of which tenants are offered a version that was imported.
func (p *Publisher) OfferedResources() (offered []schema.GroupResource) {
	for _, i := range p.imports() {
		if isOffered(i) {
			offered = append(offered, i.Spec.GVR().GroupResource())
		}
	}
	return offered
}
