package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/report"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/upsync"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// upPass is one look at one object that the physical cluster has made and that comes up, from what the caches hold to what was
// written upstream. Nothing is ever written downstream: the object is its maker's. Its steps fill it from top to bottom.
type upPass struct {
	c   *ResourceController
	key Key
	now time.Time
	// record is what is remembered of the object; the pass changes its own copy.
	record record

	// Filled by gather. settled: the caches hold what the last pass left, and nothing is to be done.
	settled  bool
	source   *feed.Source
	up, down *object
	// upstream and desired are nil where there is none; changes are those from one to the other.
	upstream, desired *unstructured.Unstructured
	changes           upsync.Changes

	// Filled by decide, and after by any step: when to look again although nothing changes.
	decision upsync.Decision
	after    time.Duration
	wrote    bool
}

// upSteps in their order.
var upSteps = []struct {
	name string
	run  func(*upPass, context.Context) error
}{
	{"gather", (*upPass).gather},
	{"decide", (*upPass).decide},
	{"apply", (*upPass).apply},
}

// processUp runs one pass over the object, remembers what it learned, and says when to look again.
func (c *ResourceController) processUp(ctx context.Context, key Key) (after time.Duration, err error) {
	p := &upPass{c: c, key: key, now: c.clock.Now(), record: c.records.load(key)}
	ctx, end := c.tracing.Start(ctx, "upsync "+c.gvr.GroupResource().String(), trace.WithAttributes(attribute.String("object", key.String())))
	err = tmc.NoPanic(ctx, key, func() error { return p.run(ctx) })
	end(err)
	if err != nil {
		message := err.Error()
		c.upProblem.Store(&message)
	}
	if err == nil && !p.settled && p.decision.Do == upsync.Nothing {
		c.records.forget(key)
		return p.after, nil
	}
	p.record.state = p.state(err)
	c.records.store(key, p.record, p.now)
	return p.after, err
}

func (p *upPass) run(ctx context.Context) error {
	for _, s := range upSteps {
		start := time.Now()
		stepCtx, end := p.c.tracing.Start(ctx, s.name)
		err := s.run(p, stepCtx)
		end(err)
		p.c.metrics.step(stepCtx, s.name, time.Since(start))
		if err != nil || p.settled {
			return err
		}
	}
	return nil
}

// gather reads both sides from the caches, and makes the only copies.
func (p *upPass) gather(context.Context) error {
	c := p.c
	p.up, p.source = c.lookUpstream(p.key)
	p.down = c.lookDownstream(p.key)
	if p.up != nil && p.down != nil && p.up.ResourceVersion == p.record.cleanUp && p.down.ResourceVersion == p.record.cleanDown {
		p.settled = true
		p.record.upSeen, p.record.downSeen = time.Time{}, time.Time{}
		return nil
	}
	if p.up != nil {
		p.record.created = time.Time{}
	}
	if p.down == nil {
		return nil
	}
	downstream, err := p.down.decode(c.gvk)
	if err != nil {
		return err
	}
	place, _ := c.upPlace(p.down) // it was found by its place
	p.desired = upsync.Desired(upsync.Input{Downstream: downstream, Key: c.target.key, Locator: place.locator, DownstreamNamespace: place.namespace})
	if p.up == nil {
		return nil
	}
	if p.upstream, err = p.up.decode(c.gvk); err != nil {
		return err
	}
	p.changes, err = upsync.ChangesOf(p.upstream, p.desired, c.statusUpstream)
	return err
}

// decide asks for the verdict.
func (p *upPass) decide(ctx context.Context) error {
	o := upsync.Observed{
		UpstreamSynced: p.c.upstreamSynced(), DownstreamSynced: p.c.downstreamSynced(), Unseen: p.unseen(),
		SinceWrite: p.now.Sub(p.record.lastStatus), Window: p.c.settings.Load().statusWindow,
	}
	if p.up != nil {
		o.Upstream = &upsync.Upstream{
			Deleting: p.up.DeletionTimestamp != nil,
			Claimed:  slices.Contains(p.up.Finalizers, workloadv1alpha1.SyncerFinalizer(p.c.target.key)),
			Stale:    older(p.up.ResourceVersion, p.record.upWritten),
			Version:  p.up.Annotations[workloadv1alpha1.UpsyncedVersionAnnotation],
		}
	}
	if p.down != nil {
		o.Downstream = &upsync.Downstream{Version: p.down.ResourceVersion, Deleting: p.down.DeletionTimestamp != nil}
	}
	if p.upstream != nil && hashOf(p.changes.Object) != p.record.futileStatus {
		o.Upstream.Contradiction = upsync.Contradiction(p.upstream, p.desired)
	}
	p.decision = upsync.Next(o)
	p.after = p.decision.After
	klog.FromContext(ctx).V(4).Info("Decided", "object", p.key.String(), "do", p.decision.Do, "why", p.decision.Why)
	return nil
}

// unseen: the cache may take a moment to show what was created; after that it counts as gone.
func (p *upPass) unseen() bool {
	return p.up == nil && !p.record.created.IsZero() && p.now.Sub(p.record.created) < unseenPatience
}

// apply does what was decided.
func (p *upPass) apply(ctx context.Context) error {
	p.record.cleanUp, p.record.cleanDown = "", ""
	switch p.decision.Do {
	case upsync.Keep:
		p.record.cleanUp, p.record.cleanDown = p.up.ResourceVersion, p.down.ResourceVersion
		p.record.upSeen, p.record.downSeen = time.Time{}, time.Time{}
		return nil
	case upsync.Create:
		return p.create(ctx)
	case upsync.Update:
		return p.update(ctx, p.writer(p.source), p.up, p.changes)
	case upsync.Release:
		return p.letGo(ctx)
	case upsync.Remove:
		return p.remove(ctx)
	default:
		return nil
	}
}

func (p *upPass) writer(source *feed.Source) *report.Writer {
	return p.c.reporter(source, p.key.Cluster)
}

// create brings the object up, in one write unless its status has to be written for itself. It goes where its workspace is:
// of several shards, those that do not have it say that they cannot be asked about it.
func (p *upPass) create(ctx context.Context) error {
	p.acting(ctx, "Bringing an object up")
	alone := p.c.statusUpstream && p.desired.Object["status"] != nil
	first := p.desired
	if alone {
		first = p.desired.DeepCopy()
		unstructured.RemoveNestedField(first.Object, "metadata", "annotations", workloadv1alpha1.UpsyncedVersionAnnotation)
		delete(first.Object, "status")
	}
	source, created, err := p.createSomewhere(ctx, first)
	if apierrors.IsAlreadyExists(err) {
		return p.resolveTaken(ctx, source, err)
	}
	if err != nil {
		return p.wroteUp("create", "", err)
	}
	p.record.created = p.now
	p.after = soonest(p.after, unseenPatience)                 // if it is gone again by then, no event tells so
	_ = p.wroteUp("create", created.GetResourceVersion(), nil) // counts it
	if !alone {
		return nil
	}
	changes, err := upsync.ChangesOf(created, p.desired, true)
	if err != nil {
		return err
	}
	return p.update(ctx, p.writer(source), created, changes)
}

func (p *upPass) createSomewhere(ctx context.Context, object *unstructured.Unstructured) (*feed.Source, *unstructured.Unstructured, error) {
	var failures []error
	for _, source := range p.c.homesFirst(p.key.Cluster) {
		created, err := p.writer(source).Create(ctx, object)
		if err == nil || !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			p.c.homes.Store(p.key.Cluster, source)
			return source, created, err
		}
		failures = append(failures, err)
	}
	return nil, nil, errors.Join(failures...)
}

// homesFirst are the places to bring an object of a workspace to; the one that took the last is the first.
func (c *ResourceController) homesFirst(cluster logicalcluster.Name) []*feed.Source {
	home, _ := c.homes.Load(cluster)
	var sources []*feed.Source
	for _, s := range c.sources {
		if s.source == home {
			sources = slices.Insert(sources, 0, s.source)
		} else {
			sources = append(sources, s.source)
		}
	}
	return sources
}

// resolveTaken tells an object of ours that the cache does not show yet from one that others have.
func (p *upPass) resolveTaken(ctx context.Context, source *feed.Source, taken error) error {
	live, err := p.writer(source).Read(ctx, p.key.Namespace, p.key.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return p.c.failed("looking for", p.key, err)
	}
	if err == nil && live.GetLabels()[workloadv1alpha1.StateLabel(p.c.target.key)] == string(workloadv1alpha1.StateUpsync) {
		p.after = soonest(p.after, time.Second) // the cache is behind
		return nil
	}
	p.c.metrics.conflicts.Inc()
	return p.wroteUp("create", "", &conflictError{why: "the workspace has an object of this name that this target did not bring up", err: taken})
}

// update makes what is upstream follow: the status first, the version last, so that what was interrupted is done again.
func (p *upPass) update(ctx context.Context, w *report.Writer, seen metav1.Object, changes upsync.Changes) error {
	p.acting(ctx, "Updating an object that came up")
	if changes.Status != nil {
		version, err := w.Change(ctx, seen, changes.Status, "status")
		if err := p.wroteUp("status", version, err); err != nil {
			return err
		}
		if changes.Object, err = withoutVersion(changes.Object); err != nil {
			return err
		}
	}
	version, err := w.Change(ctx, seen, changes.Object, "")
	if err == nil && version == seen.GetResourceVersion() {
		p.record.futileStatus = hashOf(changes.Object) // kcp stores less than it is sent
	}
	if err := p.wroteUp("update", version, err); err != nil {
		return err
	}
	if !p.record.downSeen.IsZero() {
		p.c.metrics.lag(ctx, directionUp, p.c.clock.Since(p.record.downSeen))
		p.record.downSeen = time.Time{}
	}
	return nil
}

// withoutVersion is the patch without a resourceVersion, which our own write of the status has made an old one.
func withoutVersion(patch []byte) ([]byte, error) {
	var decoded map[string]any
	if err := json.Unmarshal(patch, &decoded); err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(decoded, "metadata", "resourceVersion")
	return json.Marshal(decoded)
}

func (p *upPass) letGo(ctx context.Context) error {
	p.acting(ctx, "Releasing an object that came up")
	p.after = soonest(p.after, goneWithin)
	return p.wroteUp("release", "", p.writer(p.source).LetGo(ctx, p.up))
}

// remove takes the claim off and deletes. What is interrupted in between is found by its label, and deleted.
func (p *upPass) remove(ctx context.Context) error {
	if slices.Contains(p.up.Finalizers, workloadv1alpha1.SyncerFinalizer(p.c.target.key)) {
		if err := p.letGo(ctx); err != nil {
			return err
		}
	}
	p.acting(ctx, "Removing an object that came up")
	p.after = soonest(p.after, goneWithin)
	return p.wroteUp("delete", "", p.writer(p.source).Delete(ctx, p.up))
}

// wroteUp remembers and counts a write.
func (p *upPass) wroteUp(verb, version string, err error) error {
	p.c.metrics.written(directionUp, verb, err)
	if err == nil {
		p.wrote, p.record.lastStatus = true, p.now
		if version != "" {
			p.record.upWritten = version
		}
		return nil
	}
	return p.c.failed(bringing[verb], p.key, err)
}

var bringing = map[string]string{
	"create": "bringing up", "update": "updating", "status": "bringing up the status of", "release": "releasing", "delete": "removing",
}

func (p *upPass) acting(ctx context.Context, doing string) {
	klog.FromContext(ctx).V(2).Info(doing, "object", p.key.String(), "why", p.decision.Why)
}

// state is how the object is doing after the pass.
func (p *upPass) state(err error) State {
	switch {
	case err != nil:
		return StateFailed
	case p.settled || p.decision.Do == upsync.Keep:
		return StateSynced
	default:
		return StatePending
	}
}

// upPlace is where an object of the cluster comes up.
type upPlace struct {
	// locator of the workspace, and of the namespace in it that the object belongs to.
	locator workloadv1alpha1.NamespaceLocator
	// namespace is what that is called in the cluster.
	namespace string
}

// upPlace is known of what is in a namespace of ours, and of a cluster-scoped object that says so by a locator, or, if it is a
// volume, by the claim that it is bound to. ok is false for all others.
func (c *ResourceController) upPlace(o *object) (place upPlace, ok bool) {
	place.namespace = o.Namespace
	if place.namespace == "" {
		place.namespace = claimedFrom(o)
	}
	place.locator, ok = c.namespaces.locator(place.namespace)
	if o.Namespace != "" || o.Annotations[workloadv1alpha1.NamespaceLocatorAnnotation] == "" {
		return place, ok
	}
	said, _, err := workloadv1alpha1.ParseNamespaceLocator(o.Annotations)
	if err != nil || !c.target.owns(said) {
		return place, false
	}
	if !ok || said.ClusterName != place.locator.ClusterName {
		place.locator = said
	}
	return place, true
}

// upKey names the object upstream; ok is false for what does not come up.
func (c *ResourceController) upKey(o *object) (Key, bool) {
	if !upsync.ComesUp(o.Labels, c.gvr.GroupResource(), c.target.key) {
		return Key{}, false
	}
	place, ok := c.upPlace(o)
	key := Key{Cluster: logicalcluster.Name(place.locator.ClusterName), Name: o.Name}
	if o.Namespace != "" {
		key.Namespace = place.locator.Namespace
	}
	return key, ok
}

// claimedFrom is the namespace of the claim that a volume is bound to; empty if there is none.
func claimedFrom(o *object) string {
	var volume struct {
		Spec struct {
			ClaimRef struct {
				Namespace string `json:"namespace"`
			} `json:"claimRef"`
		} `json:"spec"`
	}
	if json.Unmarshal(o.content.json, &volume) != nil {
		return ""
	}
	return volume.Spec.ClaimRef.Namespace
}

// upMessage says which objects cannot be brought up; empty if all can.
func (c *ResourceController) upMessage() string {
	failed, last := c.records.numbers()[StateFailed], c.upProblem.Load()
	if failed == 0 || last == nil {
		return ""
	}
	return fmt.Sprintf("%d of the objects cannot be brought up; the last: %s", failed, *last)
}
