package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// apply does what was decided downstream, and has the upstream object claimed with the copy.
func (p *pass) apply(ctx context.Context) error {
	if p.decision.Do != decide.Sync && p.decision.Do != decide.Wait {
		p.c.claims.forget(p.key)
	}
	switch p.decision.Do {
	case decide.Sync:
		return p.sync(ctx)
	case decide.Delete:
		return p.deleteCopy(ctx, "Deleting the copy", p.decision.Why)
	case decide.Orphan:
		return p.disownCopy(ctx, p.decision.Why)
	case decide.Sweep:
		return p.sweep(ctx)
	default:
		return nil
	}
}

// sync begins the copy and the claim, neither of which waits for the other: a copy whose claim does not land is found and swept.
func (p *pass) sync(ctx context.Context) error {
	p.claim(ctx)
	return cmp.Or(p.writeCopy(ctx), p.claimFailure)
}

func (p *pass) writeCopy(ctx context.Context) error {
	switch p.write.Do {
	case decide.Create:
		return p.createCopy(ctx)
	case decide.Correct:
		p.noteCorrection(ctx)
		return p.updateCopy(ctx)
	case decide.Update:
		return p.updateCopy(ctx)
	case decide.Postpone:
		if p.write.Fight {
			p.tellFight(ctx)
		}
		return nil
	default:
		if p.down == nil {
			return p.confirmCleanUp(ctx)
		}
		p.record.hash, p.record.downWritten = p.hash, p.down.ResourceVersion
		return nil
	}
}

// confirmCleanUp looks once whether a copy that had run to its end is gone indeed, or has only lost our label.
func (p *pass) confirmCleanUp(ctx context.Context) error {
	if p.record.finished == nil {
		return nil
	}
	live, err := p.c.writer.Read(ctx, p.desired.GetNamespace(), p.desired.GetName())
	if err == nil && p.marked(live) {
		return p.restoreMarks(ctx, live)
	}
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return p.c.failed("looking for the copy of", p.key, err)
}

func (p *pass) createCopy(ctx context.Context) error {
	if p.c.namespaced {
		if _, err := p.c.namespaces.ensure(ctx, p.c.target.locate(p.key.Cluster, p.key.Namespace)); err != nil {
			return p.c.failed("preparing the namespace of", p.key, err)
		}
	}
	p.acting(ctx, "Creating the copy", p.write.Why)
	whole, err := p.left.PutBack(p.desired, nil)
	if err != nil {
		return err
	}
	created, err := p.c.writer.Create(ctx, whole)
	switch {
	case apierrors.IsAlreadyExists(err):
		return p.resolveConflict(ctx, err)
	case apierrors.IsNotFound(err) && p.c.namespaced:
		p.c.namespaces.doubt(p.c.target.locate(p.key.Cluster, p.key.Namespace))
	}
	if err == nil {
		p.record.made, p.record.created, p.record.remaking, p.made = p.c.clock.Now(), p.now, false, true
		p.record.backlog = p.record.upSeen.IsZero()
	}
	return p.wroteCopy(ctx, "create", created, err)
}

func (p *pass) updateCopy(ctx context.Context) error {
	p.acting(ctx, "Updating the copy", p.write.Why)
	copied, err := p.down.decode(p.c.gvk)
	if err != nil {
		return err
	}
	updated, err := p.update(ctx, copied, p.down.applied)
	if tmc.CategoryOf(err) == tmc.Validation {
		updated, err = p.displace(ctx, copied, err)
	}
	if tmc.CategoryOf(err) == tmc.Immutable && p.mayRecreate() {
		p.record.remaking = true
		return p.deleteCopy(ctx, "Deleting the copy to make it anew", err.Error())
	}
	return p.wroteCopy(ctx, "update", updated, err)
}

// update writes an object of the cluster, less the fields that are the cluster's.
func (p *pass) update(ctx context.Context, live *unstructured.Unstructured, applied bool) (resourceVersion string, err error) {
	whole, err := p.left.PutBack(p.desired, live)
	if err != nil {
		return "", err
	}
	return p.c.writer.Update(ctx, whole, live.GetUID(), applied)
}

// displace takes away what others have put beside our items, when the server refuses both together. Where nobody has, it stays
// with what the server said.
func (p *pass) displace(ctx context.Context, copied *unstructured.Unstructured, refused error) (resourceVersion string, err error) {
	field, crowded := transform.Crowded(p.desired, copied)
	if !crowded {
		return "", refused
	}
	whole, err := p.left.PutBack(p.desired, copied)
	if err != nil {
		return "", err
	}
	p.acting(ctx, "Displacing what others have put into the copy", "the server accepts only one or the other in "+field)
	return p.c.writer.Displace(ctx, whole, copied.GetUID())
}

// wroteCopy remembers which version the server made of a write downstream.
func (p *pass) wroteCopy(ctx context.Context, verb, version string, err error) error {
	if err == nil {
		p.record.hash, p.record.downWritten = p.hash, version
		if p.down != nil && p.down.ResourceVersion == version {
			p.after = soonest(p.after, time.Second) // nothing changed, so no event will have us look again
		}
		p.wroteDown(ctx)
	}
	return p.countDown(verb, err)
}

func (p *pass) countDown(verb string, err error) error {
	p.c.metrics.written(directionDown, verb, err)
	p.wrote = p.wrote || err == nil
	return p.c.failed(verbing[verb]+" the copy of", p.key, err)
}

var verbing = map[string]string{"create": "creating", "update": "updating", "delete": "deleting", "disown": "disowning", "sweep": "sweeping"}

// mayRecreate: the user allows it, and the kind does not lose data by it.
func (p *pass) mayRecreate() bool {
	keep := []string{"persistentvolumeclaims", "customresourcedefinitions.apiextensions.k8s.io"}
	return p.up.Annotations[workloadv1alpha1.ImmutablePolicyAnnotation] == string(workloadv1alpha1.ImmutableRecreate) &&
		!slices.Contains(keep, p.c.gvr.GroupResource().String())
}

// conflictError says that the name of the copy is taken by a stranger's object.
type conflictError struct {
	why string
	err error
}

func (e *conflictError) Error() string { return e.why }
func (e *conflictError) Unwrap() error { return e.err }

// resolveConflict looks at the object that has the name of the copy, and does what the policy says.
func (p *pass) resolveConflict(ctx context.Context, taken error) error {
	live, err := p.c.writer.Read(ctx, p.desired.GetNamespace(), p.desired.GetName())
	if err != nil {
		return p.countDown("create", err)
	}
	policy, err := p.conflictPolicy()
	if err != nil {
		return err
	}
	facts := decide.Conflict{Policy: policy, Ours: p.marked(live)}
	facts.DifferingField, _ = transform.Drifted(unmarked(p.desired), live)
	verb, why := decide.ResolveConflict(facts)
	switch verb {
	case decide.Retry:
		return p.restoreMarks(ctx, live)
	case decide.Adopt:
		p.acting(ctx, "Adopting an existing object", why)
		adopted, err := p.update(ctx, live, true)
		return p.wroteCopy(ctx, "update", adopted, err)
	default:
		p.c.metrics.conflicts.Inc()
		p.problem = &problem{workloadv1alpha1.ReasonConflict, why}
		return p.countDown("create", &conflictError{why: why, err: taken})
	}
}

// restoreMarks handles a copy of ours that the cache does not show: it is behind, or somebody took our label off.
func (p *pass) restoreMarks(ctx context.Context, live *unstructured.Unstructured) error {
	if live.GetDeletionTimestamp() != nil || live.GetLabels()[workloadv1alpha1.DownstreamClusterLabel] == p.c.target.key {
		return p.countDown("create", apierrors.NewConflict(p.c.gvr.GroupResource(), p.key.Name, errors.New("a copy of ours is there; the cache is behind")))
	}
	p.acting(ctx, "Updating the copy", "our label was removed")
	updated, err := p.update(ctx, live, false)
	return p.wroteCopy(ctx, "update", updated, err)
}

// marked reports whether an object that is not in the cache is the copy of this very upstream object all the same.
func (p *pass) marked(live *unstructured.Unstructured) bool {
	if live.GetAnnotations()[workloadv1alpha1.AppliedHashAnnotation] == "" {
		return false
	}
	if p.c.namespaced {
		return true // the namespace is ours, and nobody else writes this annotation
	}
	locator, ok, err := workloadv1alpha1.ParseNamespaceLocator(live.GetAnnotations())
	return err == nil && ok && locator == p.c.target.locate(p.key.Cluster, p.key.Namespace)
}

func unmarked(desired *unstructured.Unstructured) *unstructured.Unstructured {
	u := desired.DeepCopy()
	unstructured.RemoveNestedField(u.Object, "metadata", "labels", workloadv1alpha1.DownstreamClusterLabel)
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", workloadv1alpha1.AppliedHashAnnotation)
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", workloadv1alpha1.NamespaceLocatorAnnotation)
	return u
}

func (p *pass) conflictPolicy() (workloadv1alpha1.ConflictPolicy, error) {
	asked, ok := p.up.Annotations[workloadv1alpha1.ConflictPolicyAnnotation]
	if !ok {
		return p.c.settings.Load().conflictPolicy, nil
	}
	policy := workloadv1alpha1.ConflictPolicy(asked)
	if !slices.Contains(workloadv1alpha1.ConflictPolicies, policy) {
		message := fmt.Sprintf("annotation %s: %q is none of %v", workloadv1alpha1.ConflictPolicyAnnotation, asked, workloadv1alpha1.ConflictPolicies)
		p.problem = &problem{workloadv1alpha1.ReasonInvalidAnnotation, message}
		return "", invalid(p.c.failed("creating the copy of", p.key, errors.New(message)))
	}
	return policy, nil
}

// goneWithin is how long the caches may take to show that something is gone. An answer says that it goes; if it does not all the
// same, because something between us and the server has answered, no event tells so.
const goneWithin = 10 * time.Second

func (p *pass) deleteCopy(ctx context.Context, doing, why string) error {
	p.acting(ctx, doing, why)
	p.after = soonest(p.after, goneWithin)
	return p.countDown("delete", p.c.writer.Delete(ctx, p.down.Namespace, p.down.Name, p.down.UID))
}

// disownCopy leaves the copy running, stripped of our marks.
func (p *pass) disownCopy(ctx context.Context, why string) error {
	p.acting(ctx, "Disowning the copy", why)
	p.after = soonest(p.after, goneWithin)
	return p.countDown("disown", p.c.writer.Disown(ctx, p.down.Namespace, p.down.Name, p.down.UID))
}

// sweep deletes a copy without an upstream object, if upstream itself confirms that there is none. Anything but a clear
// answer means unknown, never gone.
func (p *pass) sweep(ctx context.Context) error {
	live, _, err := p.c.readUpstream(ctx, p.key)
	if err != nil {
		return p.c.failed("looking for the upstream object of", p.key, err)
	}
	if live != nil {
		return p.sweepUnselected(ctx, live)
	}
	if p.down.Annotations[workloadv1alpha1.RemovalPolicyAnnotation] == string(workloadv1alpha1.RemovalOrphan) {
		return p.disownCopy(ctx, "its removal policy keeps it")
	}
	p.acting(ctx, "Sweeping an orphan", p.decision.Why)
	p.after = soonest(p.after, goneWithin)
	p.c.metrics.orphansSwept.Inc()
	return p.countDown("sweep", p.c.writer.Delete(ctx, p.down.Namespace, p.down.Name, p.down.UID))
}

// sweepUnselected handles an object that is alive but not shown by the feed: it no longer selects this target.
func (p *pass) sweepUnselected(ctx context.Context, live *unstructured.Unstructured) error {
	if p.c.feed.Selects(live.GetLabels()) {
		p.record.orphanSince, p.after = p.now, p.c.settings.Load().orphanGrace // the cache is behind
		return nil
	}
	p.record.unselected = true
	if live.GetAnnotations()[workloadv1alpha1.RemovalPolicyAnnotation] == string(workloadv1alpha1.RemovalOrphan) {
		return p.disownCopy(ctx, "its upstream object no longer selects this target")
	}
	return p.deleteCopy(ctx, "Deleting the copy", "its upstream object no longer selects this target")
}

// readUpstream reads an object live that the caches do not hold. It gives nil only if every source positively says that
// this object does not exist; a workspace that cannot be read is an error.
func (c *ResourceController) readUpstream(ctx context.Context, key Key) (*unstructured.Unstructured, *feed.Source, error) {
	for _, s := range c.sources {
		live, err := c.reporter(s.source, key.Cluster).Read(ctx, key.Namespace, key.Name)
		if err == nil {
			return live, s.source, nil
		}
		if !tmc.IsObjectNotFound(err, c.gvr.Resource, key.Name) {
			return nil, nil, fmt.Errorf("reading it from %s: %w", s.source, err)
		}
	}
	return nil, nil, nil
}

func (p *pass) acting(ctx context.Context, doing, why string) {
	klog.FromContext(ctx).V(2).Info(doing, "object", p.key.String(), "why", why)
}

// invalid marks an error as the user's to mend: trying again changes nothing.
func invalid(err error) error { return tmc.As(tmc.Validation, err) }
