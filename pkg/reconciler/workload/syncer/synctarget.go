package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

var syncTargetsGVR = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")

// syncTargets reads the SyncTargets of one workspace, and writes the status of one of them.
type syncTargets struct {
	client dynamic.ResourceInterface
	ref    SyncTargetRef
	doubt  *doubt
}

// RefusedError says that this syncer must not serve the SyncTarget. Trying again will not help before somebody changes
// the configuration.
type RefusedError struct{ why string }

func (e *RefusedError) Error() string { return e.why }

func refused(format string, args ...any) error {
	return &RefusedError{why: fmt.Sprintf(format, args...)}
}

// resolve reads the SyncTarget and checks that it is the one that is meant. It keeps trying while kcp does not answer;
// an answer that says no is final, if it is to be believed.
func (s *syncTargets) resolve(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	st, err := untilAnswered(ctx, "Reading the SyncTarget", s.get, s.finalAnswer)
	if err != nil {
		return nil, err
	}
	s.doubt.over()
	return st, s.check(st)
}

// untilAnswered asks again and again until there is an answer, or final turns an error into one.
func untilAnswered[T any](ctx context.Context, doing string, ask func(context.Context) (T, error), final func(error) error) (T, error) {
	for attempt := 1; ; attempt++ {
		answer, err := ask(ctx)
		if err == nil {
			return answer, nil
		}
		if why := final(err); why != nil {
			return answer, why
		}
		delay := tmc.Backoff(tmc.CategoryOf(err), attempt, rand.Float64)
		klog.FromContext(ctx).Error(err, doing, "attempt", attempt, "retryAfter", delay.Round(time.Millisecond).String())
		select {
		case <-ctx.Done():
			return answer, errors.Join(ctx.Err(), err)
		case <-time.After(delay):
		}
	}
}

// finalAnswer turns an answer that a retry will not change into words with a remedy. That the SyncTarget does not exist is one at once;
// that kcp does not let us see whether it does, see [doubt].
func (s *syncTargets) finalAnswer(err error) error {
	where := fmt.Sprintf("SyncTarget %s in workspace %s", s.ref.Name, s.ref.Workspace)
	var final *RefusedError
	switch {
	case errors.As(err, &final):
		return err
	case tmc.IsObjectNotFound(err, syncTargetsGVR.Resource, s.ref.Name):
		return refused("%s does not exist: check --sync-target-name and --sync-target-workspace, or create it (%v)", where, err)
	case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err), !s.doubt.believes():
		return nil
	case apierrors.IsNotFound(err):
		return refused("%s cannot be read, because the workspace does not serve synctargets.workload.kcp.io: bind the APIExport workload.kcp.io there, e.g. with kubectl workload bind (%v)", where, err)
	default:
		return refused("%s may not be read by the user of --kcp-kubeconfig, or the workspace does not exist: check --sync-target-workspace and grant get, list, watch on synctargets and update, patch on synctargets/status (%v)", where, err)
	}
}

func (s *syncTargets) check(st *workloadv1alpha1.SyncTarget) error {
	if s.ref.UID != "" && st.UID != s.ref.UID {
		return refused("SyncTarget %s in workspace %s has UID %s, not %s as --sync-target-uid says: it was deleted and created anew, or this syncer belongs to another one; correct --sync-target-uid if this cluster shall serve it",
			s.ref.Name, s.ref.Workspace, st.UID, s.ref.UID)
	}
	if st.DeletionTimestamp != nil {
		return refused("SyncTarget %s in workspace %s is being deleted", s.ref.Name, s.ref.Workspace)
	}
	return nil
}

func (s *syncTargets) get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	u, err := s.client.Get(ctx, s.ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, tmc.Classify(err)
	}
	return toSyncTarget(u)
}

func (s *syncTargets) list(ctx context.Context) ([]workloadv1alpha1.SyncTarget, error) {
	list, err := s.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, tmc.Classify(err)
	}
	var all []workloadv1alpha1.SyncTarget
	for i := range list.Items {
		st, err := toSyncTarget(&list.Items[i])
		if err != nil {
			return nil, err
		}
		all = append(all, *st)
	}
	return all, nil
}

// patchStatus merges into the status; of that version only, if one is given.
func (s *syncTargets) patchStatus(ctx context.Context, status map[string]any, resourceVersion string) (*workloadv1alpha1.SyncTarget, error) {
	body := map[string]any{"status": status}
	if resourceVersion != "" {
		body["metadata"] = map[string]any{"resourceVersion": resourceVersion}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	u, err := s.client.Patch(ctx, s.ref.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldManager}, "status")
	if err != nil {
		return nil, tmc.Classify(err)
	}
	return toSyncTarget(u)
}

// informer watches just this SyncTarget.
func (s *syncTargets) informer() cache.SharedIndexInformer {
	selector := fields.OneTermEqualSelector("metadata.name", s.ref.Name).String()
	lw := tmc.ListWatch(s.client, func(options *metav1.ListOptions) { options.FieldSelector = selector }, nil)
	return cache.NewSharedIndexInformer(lw, &unstructured.Unstructured{}, 0, cache.Indexers{})
}

func toSyncTarget(u *unstructured.Unstructured) (*workloadv1alpha1.SyncTarget, error) {
	st := &workloadv1alpha1.SyncTarget{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, st); err != nil {
		return nil, fmt.Errorf("reading SyncTarget %s: %w", u.GetName(), err)
	}
	return st, nil
}

// clusterOf is the logical cluster that the object lives in.
func clusterOf(st *workloadv1alpha1.SyncTarget) logicalcluster.Name { return logicalcluster.From(st) }
