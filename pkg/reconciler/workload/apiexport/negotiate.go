package apiexport

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/version"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/apiexport/schema"
)

// Observed is all that the negotiation of one resource depends on.
type Observed struct {
	// Imports are what clusters serve of the resource.
	Imports []Import
	// Offered is what tenants are offered now, nil for nothing.
	Offered *Offer
	// Withheld are the versions that the operator does not want to be published.
	Withheld sets.Set[string]
	// Used tells whether some workspace has objects of the resource; it is asked for only if the answer matters.
	Used *bool
}

// Import is what one cluster serves.
type Import struct {
	// Name is that of the import for people, and its identity.
	Name    string
	Created time.Time
	Version string
	Description
	// Invalid is why the schema cannot be used, nil if it can be.
	Invalid error
}

// Offer is what tenants are offered of the resource.
type Offer struct {
	// Installed: it was put there by kubectl workload init, or by an administrator, and is not ours to change.
	Installed bool
	Version   string
	Description
}

// Outcome is what follows.
type Outcome struct {
	// AskUsed: nothing can be decided before Observed.Used is known.
	AskUsed bool
	// Offer is what tenants shall be offered; nil for nothing. It is Observed.Offered itself if nothing changes.
	Offer *Offer
	// Versions are what there is to say about each version, by its name.
	Versions map[string]Version
	// Verdicts are what there is to say about each import, by its name.
	Verdicts map[string]Verdict
}

// Version is the outcome for a version of the resource.
type Version struct {
	Compatible, Published metav1.Condition
	Imports               int
	// Negotiated is what its clusters have in common; nil if nothing, or if that is not negotiated.
	Negotiated *Description
}

// Verdict is the outcome for an import.
type Verdict struct{ Compatible, Available metav1.Condition }

// negotiate decides what tenants are offered of a resource.
//
// What was installed stays as it is: clusters are compared with it. Otherwise it is what the clusters have in common. Those
// that have nothing in common with what is offered already, or else with the older imports, are left out and told so. It may
// become wider at any time; it becomes narrower, or goes, only while no workspace has objects of the resource.
func negotiate(o Observed) Outcome {
	versions := talks(o)
	chosen := choose(o, versions)
	out := Outcome{Offer: o.Offered, Versions: map[string]Version{}, Verdicts: map[string]Verdict{}}
	published := metav1.Condition{Type: apiresourcev1alpha1.NegotiatedPublished}
	if out.Offer, out.AskUsed = o.next(versions[chosen], chosen, &published); out.AskUsed {
		return out
	}
	for name, talk := range versions {
		tell(&out, name, talk)
		v := out.Versions[name]
		v.Published = publishedOf(o, out.Offer, name, talk, published)
		out.Versions[name] = v
	}
	return out
}

// talk is what came of bringing the imports of one version together.
type talk struct {
	imports []Import
	// common is what those that could be brought together have in common.
	common *Description
}

func talks(o Observed) map[string]talk {
	out := map[string]talk{}
	for v := range o.Withheld {
		out[v] = talk{}
	}
	if o.Offered != nil {
		out[o.Offered.Version] = talk{}
	}
	for _, i := range o.Imports {
		t := out[i.Version]
		t.imports = append(t.imports, i)
		out[i.Version] = t
	}
	for v, t := range out {
		out[v] = bringTogether(t.imports, o.offeredIn(v))
	}
	return out
}

// offeredIn is what is offered in a version.
func (o Observed) offeredIn(v string) *Offer {
	if o.Offered == nil || o.Offered.Version != v {
		return nil
	}
	return o.Offered
}

func bringTogether(imports []Import, offered *Offer) talk {
	agrees := func(i Import) bool {
		if offered == nil || i.Invalid != nil {
			return true
		}
		_, problems := common(offered.Description, i.Description)
		return len(problems) == 0
	}
	slices.SortStableFunc(imports, func(a, b Import) int {
		return cmp.Or(disagreesFirstLast(agrees(a), agrees(b)), a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	t := talk{imports: imports}
	if offered != nil && offered.Installed {
		return t
	}
	for _, i := range imports {
		switch {
		case i.Invalid != nil:
		case t.common == nil:
			first := i.Description
			first.Schema = schema.Normal(first.Schema)
			t.common = &first
		default:
			if both, problems := common(*t.common, i.Description); len(problems) == 0 {
				t.common = &both
			}
		}
	}
	return t
}

// disagreesFirstLast puts what does not agree with what is offered behind what does.
func disagreesFirstLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// choose gives the version that is offered: the one that is, or that which most clusters serve, the most stable one of those.
func choose(o Observed, versions map[string]talk) string {
	usable := func(v string) bool { return versions[v].common != nil && !o.Withheld.Has(v) }
	if o.Offered != nil && (o.Offered.Installed || usable(o.Offered.Version) || o.Used == nil || *o.Used) {
		return o.Offered.Version
	}
	best := ""
	for v, t := range versions {
		if !usable(v) {
			continue
		}
		most := cmp.Compare(len(t.imports), len(versions[best].imports))
		if best == "" || most > 0 || most == 0 && version.CompareKubeAwareVersionStrings(v, best) > 0 {
			best = v
		}
	}
	return best
}

// next is what shall be offered, and why.
func (o Observed) next(t talk, chosen string, why *metav1.Condition) (offer *Offer, ask bool) {
	why.Status = metav1.ConditionTrue
	withheld := o.Withheld.Has(chosen)
	switch offered := o.offeredIn(chosen); {
	case offered != nil && offered.Installed:
		why.Reason, why.Message = apiresourcev1alpha1.ReasonInstalled, "tenants are offered what was installed, which clusters do not change"
		return offered, false
	case offered == nil && (t.common == nil || withheld):
		return nil, false
	case offered == nil:
		why.Reason, why.Message = apiresourcev1alpha1.ReasonPublished, "tenants are offered what the clusters have in common"
		return &Offer{Version: chosen, Description: *t.common}, false
	default:
		return o.keepOrChange(*offered, t, withheld, why)
	}
}

// keepOrChange decides what becomes of what is offered, when it is not needed any more or the clusters have changed.
func (o Observed) keepOrChange(offered Offer, t talk, withheld bool, why *metav1.Condition) (offer *Offer, ask bool) {
	lost := ""
	if t.common != nil && !withheld {
		if lost = losses(offered.Description, *t.common); lost == "" {
			why.Reason, why.Message = apiresourcev1alpha1.ReasonPublished, "tenants are offered what the clusters have in common"
			return &Offer{Version: offered.Version, Description: *t.common}, false
		}
	}
	switch {
	case o.Used == nil:
		return nil, true
	case *o.Used && withheld:
		why.Reason, why.Message = apiresourcev1alpha1.ReasonStillUsed, "it shall not be published, but some workspace has objects of it"
		return o.Offered, false
	case *o.Used && t.common == nil:
		why.Reason, why.Message = apiresourcev1alpha1.ReasonPublished, "no cluster serves it now, but some workspace has objects of it"
		return o.Offered, false
	case *o.Used:
		why.Reason = apiresourcev1alpha1.ReasonNarrowingHeldBack
		why.Message = "some workspace has objects of it, so that tenants are still offered more than the clusters have in common: " + lost
		return o.Offered, false
	case withheld || t.common == nil:
		return nil, false
	}
	why.Reason, why.Message = apiresourcev1alpha1.ReasonPublished, "tenants are offered what the clusters have in common"
	return &Offer{Version: offered.Version, Description: *t.common}, false
}

// losses says what would no longer be accepted.
func losses(now, next Description) string {
	differences, problems := narrower(now, next)
	if len(problems) > 0 {
		return list(problems)
	}
	return list(differences)
}

// publishedOf says whether and why a version is offered.
func publishedOf(o Observed, offer *Offer, name string, t talk, ofOffered metav1.Condition) metav1.Condition {
	c := metav1.Condition{Type: apiresourcev1alpha1.NegotiatedPublished, Status: metav1.ConditionFalse}
	switch {
	case offer != nil && offer.Version == name:
		return ofOffered
	case o.Withheld.Has(name):
		c.Reason, c.Message = apiresourcev1alpha1.ReasonNotPublished, "spec.publish is false"
	case t.common == nil:
		c.Reason, c.Message = apiresourcev1alpha1.ReasonNothingToOffer, "no cluster serves it with a schema that can be offered"
	case offer != nil:
		c.Reason, c.Message = apiresourcev1alpha1.ReasonOtherVersion, fmt.Sprintf("version %s is offered", offer.Version)
	default:
		c.Reason, c.Message = apiresourcev1alpha1.ReasonNothingToOffer, "it is about to be offered"
	}
	return c
}

// tell judges the imports of a version by what is offered of it, or could be.
func tell(out *Outcome, name string, t talk) {
	offered := out.Offer != nil && out.Offer.Version == name
	by := t.common
	if offered {
		by = &out.Offer.Description
	}
	v := Version{Imports: len(t.imports), Negotiated: t.common}
	var incompatible, remarks []string
	for _, i := range t.imports {
		verdict := Verdict{Compatible: compatible(i, by), Available: available(out.Offer, offered)}
		out.Verdicts[i.Name] = verdict
		switch {
		case verdict.Compatible.Status == metav1.ConditionFalse:
			incompatible = append(incompatible, i.Name+": "+verdict.Compatible.Message)
		case verdict.Compatible.Reason == apiresourcev1alpha1.ReasonNarrower:
			remarks = append(remarks, i.Name+": "+verdict.Compatible.Message)
		}
	}
	v.Compatible = metav1.Condition{Type: apiresourcev1alpha1.NegotiatedCompatible, Status: metav1.ConditionFalse}
	switch {
	case len(t.imports) == 0:
		v.Compatible.Reason, v.Compatible.Message = apiresourcev1alpha1.ReasonNoImports, "no cluster serves it"
	case len(incompatible) > 0:
		v.Compatible.Reason, v.Compatible.Message = apiresourcev1alpha1.ReasonSomeIncompatible, strings.Join(incompatible, "\n")
	default:
		v.Compatible.Status, v.Compatible.Reason = metav1.ConditionTrue, apiresourcev1alpha1.ReasonNegotiated
		v.Compatible.Message = cmp.Or(strings.Join(remarks, "\n"), "every cluster takes what tenants are offered")
	}
	v.Compatible.Message = shorten(v.Compatible.Message)
	out.Versions[name] = v
}

func compatible(i Import, with *Description) metav1.Condition {
	c := metav1.Condition{Type: apiresourcev1alpha1.ImportCompatible, Status: metav1.ConditionFalse}
	if i.Invalid != nil {
		c.Reason, c.Message = apiresourcev1alpha1.ReasonInvalidSchema, shorten(i.Invalid.Error())
		return c
	}
	differences, problems := narrower(*with, i.Description) // an import with a valid schema makes its version have a common one
	switch {
	case len(problems) > 0:
		c.Reason, c.Message = apiresourcev1alpha1.ReasonIncompatible, shorten(list(problems))
	case len(differences) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, apiresourcev1alpha1.ReasonNarrower, shorten(list(differences))
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, apiresourcev1alpha1.ReasonAcceptsAll, "the cluster takes whatever tenants can create"
	}
	return c
}

func available(offer *Offer, offered bool) metav1.Condition {
	c := metav1.Condition{Type: apiresourcev1alpha1.ImportAvailable, Status: metav1.ConditionFalse, Reason: apiresourcev1alpha1.ReasonNotOffered}
	switch {
	case offered:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, apiresourcev1alpha1.ReasonOffered, "tenants are offered it"
	case offer != nil:
		c.Message = fmt.Sprintf("tenants are offered version %s", offer.Version)
	default:
		c.Message = "tenants are not offered it; its NegotiatedAPIResource tells why"
	}
	return c
}

// maxMessage is what a condition's message may have.
const maxMessage = 32768

func shorten(message string) string {
	if len(message) > maxMessage {
		return message[:maxMessage]
	}
	return message
}
