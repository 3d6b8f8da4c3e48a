package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/tenants"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// examples is how many objects of a type are named when the drain does not come to its end.
const examples = 3

// Drain has everything leave the target, and watches until nothing is on it. When ctx ends before, the error tells what still is
// there and why; the drain itself goes on.
func (t *Targets) Drain(ctx context.Context, name string, now time.Time, out io.Writer) error {
	target, err := t.get(ctx, name)
	if err != nil {
		return err
	}
	p := progress{heard: target.Status.LastSyncerHeartbeatTime}
	if t.DryRun {
		return t.tellPlan(ctx, target, now, out)
	}
	if target, err = t.evict(ctx, target, now); err != nil {
		return err
	}
	if err := t.tell(out, name, "cordoned, and everything is leaving it"); err != nil {
		return err
	}
	last, err := t.watch(ctx, target, p, out)
	if err != nil {
		return t.interrupted(ctx, last, err)
	}
	_, err = fmt.Fprintf(out, drained, name)
	return err
}

const drained = `
To take the cluster away: delete the syncer's manifest in it, and then
  kubectl delete synctarget %[1]s
To use it again:
  kubectl workload uncordon %[1]s
`

// watch tells each change until the drain is done. It gives the SyncTarget as it was seen last.
func (t *Targets) watch(ctx context.Context, target *workloadv1alpha1.SyncTarget, p progress, out io.Writer) (last *workloadv1alpha1.SyncTarget, err error) {
	last = target
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, target.Name).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return t.client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			return t.client.Watch(ctx, options)
		},
	}
	var told string
	_, err = watchtools.UntilWithSync(ctx, cache.ToListWatcherWithWatchListSemantics(lw, t.client), &unstructured.Unstructured{}, nil, func(event watch.Event) (bool, error) {
		if event.Type == watch.Deleted {
			return false, fmt.Errorf("SyncTarget %s was deleted", target.Name)
		}
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		current, err := workspace.As[workloadv1alpha1.SyncTarget](object)
		if err != nil {
			return false, err
		}
		last = current
		if current.Spec.EvictAfter == nil {
			return false, fmt.Errorf("somebody has called the drain of SyncTarget %s off: it is to be evicted no longer", target.Name)
		}
		done, says := p.judge(current)
		if says != told {
			_, _ = fmt.Fprintf(out, "%s: %s\n", target.Name, says)
			told = says
		}
		return done, nil
	})
	return last, err
}

// interrupted says what is still there, why, and that the drain goes on.
func (t *Targets) interrupted(ctx context.Context, target *workloadv1alpha1.SyncTarget, err error) error {
	if ctx.Err() == nil {
		return err
	}
	_, says := progress{}.judge(target)
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	why := t.why(look, target)
	text := fmt.Sprintf("%s: %s\n%sThe drain goes on without this command. Watch it again with `kubectl workload drain %s`; call it off with `kubectl workload uncordon %s`",
		target.Name, says, why, target.Name, target.Name)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("not done within --timeout: %s", text)
	}
	return fmt.Errorf("interrupted: %s", text)
}

// lookTimeout bounds the look at what still is there, when somebody wants the command to end.
const lookTimeout = 10 * time.Second

// tellPlan is a dry run.
func (t *Targets) tellPlan(ctx context.Context, target *workloadv1alpha1.SyncTarget, now time.Time, out io.Writer) error {
	if _, err := t.evict(ctx, target, now); err != nil {
		return err
	}
	what := "nothing"
	if remaining := leftOn(target); len(remaining) > 0 {
		what = summary(remaining)
	}
	_, err := fmt.Fprintf(out, "SyncTarget %s would be cordoned, and %s would leave it (dry run)\n%s", target.Name, what, t.why(ctx, target))
	return err
}

// why tells, a line each, which Placements hold to the target, and which objects are there. Only the provider's administrators can see
// that; for others it says so.
func (t *Targets) why(ctx context.Context, target *workloadv1alpha1.SyncTarget) string {
	lines, err := t.lookAtTenants(ctx, target)
	if err != nil {
		lines = []string{fmt.Sprintf("(what of which workspace that is can be seen with the permissions of the provider's administrators: %v)", err)}
	}
	var out strings.Builder
	for _, line := range lines {
		out.WriteString("  " + line + "\n")
	}
	return out.String()
}

func (t *Targets) lookAtTenants(ctx context.Context, target *workloadv1alpha1.SyncTarget) (lines []string, err error) {
	provider, err := tenants.Provider(ctx, t.kcp, t.path)
	if err != nil {
		return nil, err
	}
	key := workloadv1alpha1.SyncTargetKey(logicalcluster.From(target).String(), target.Name)
	view, err := tenants.Open(ctx, t.kcp, provider, workloadv1alpha1.SchedulingExport)
	if err != nil {
		return nil, err
	}
	placements, err := view.PlacementsOn(ctx, key)
	if err != nil {
		return nil, err
	}
	for i := range placements {
		lines = append(lines, placementLine(&placements[i], key))
	}
	objects, err := tenants.Open(ctx, t.kcp, provider, workloadv1alpha1.KubernetesExport)
	if err != nil {
		return nil, err
	}
	for _, l := range leftOn(target) {
		found, err := objects.ObjectsOn(ctx, key, l.resource)
		if err != nil {
			return nil, err
		}
		for i := range found[:min(len(found), examples)] {
			lines = append(lines, objectLine(l.resource.GroupResource().String(), &found[i], key))
		}
		if more := len(found) - examples; more > 0 {
			lines = append(lines, fmt.Sprintf("… and %d more %s", more, l.resource.GroupResource()))
		}
	}
	return lines, nil
}

// placementLine tells what a Placement does about the target, and why it does not do more.
func placementLine(placement *schedulingv1alpha1.Placement, key string) string {
	line := fmt.Sprintf("Placement %s|%s", logicalcluster.From(placement), placement.Name)
	targets := placement.Status.SelectedTargets
	if i := slices.IndexFunc(targets, func(t schedulingv1alpha1.SelectedTarget) bool { return t.Key == key }); i >= 0 {
		line += fmt.Sprintf(": %s (%s) %s", targets[i].Phase, targets[i].Reason, targets[i].Message)
	}
	scheduled := meta.FindStatusCondition(placement.Status.Conditions, schedulingv1alpha1.PlacementScheduled)
	if scheduled != nil && scheduled.Status != metav1.ConditionTrue {
		line += fmt.Sprintf("; it has nowhere else to go: %s: %s", scheduled.Reason, scheduled.Message)
	}
	return line
}

// objectLine tells what keeps an object on the target.
func objectLine(resource string, object *metav1.PartialObjectMetadata, key string) string {
	line := fmt.Sprintf("%s %s|%s/%s", resource, logicalcluster.From(object), object.Namespace, object.Name)
	var conditions []metav1.Condition
	_ = json.Unmarshal([]byte(object.Annotations[workloadv1alpha1.ConditionsAnnotation(key)]), &conditions) // what cannot be read tells nothing
	switch since, leaving := object.Annotations[workloadv1alpha1.DeletionAnnotation(key)]; {
	case len(conditions) > 0:
		line += fmt.Sprintf(": %s: %s", conditions[0].Reason, conditions[0].Message)
	case object.Annotations[workloadv1alpha1.SoftFinalizersAnnotation(key)] != "":
		line += ": kept by " + object.Annotations[workloadv1alpha1.SoftFinalizersAnnotation(key)]
	case leaving:
		line += ": leaving since " + since
	default:
		line += ": not asked to leave yet"
	}
	return line
}
