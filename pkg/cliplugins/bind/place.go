package bind

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/apply"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// Placement is what is asked for about a workspace's Placement.
type Placement struct {
	Name string
	// LocationSelectors and NamespaceSelector are as typed. Nil leaves those of a Placement that exists as they are; a new one
	// takes every Location and every namespace.
	LocationSelectors []string
	NamespaceSelector *string
	// LocationWorkspace holds the Locations; the provider if empty.
	LocationWorkspace string
}

// Validate tells everything that is wrong with the selectors at once.
func (p Placement) Validate() error {
	_, err := p.spec()
	return err
}

// spec is the part of a Placement's spec that is asked for.
func (p Placement) spec() (spec map[string]any, err error) {
	spec = map[string]any{}
	var mistakes []string
	parse := func(flag, typed string) map[string]any {
		selector, err := labelSelector(typed)
		if err != nil {
			mistakes = append(mistakes, fmt.Sprintf("%s: %q is no label selector, as region=eu,tier!=test is: %v", flag, typed, err))
			return nil
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(selector)
		if err != nil {
			mistakes = append(mistakes, fmt.Sprintf("%s: %v", flag, err))
		}
		return content
	}
	if p.LocationSelectors != nil {
		selectors := []any{}
		for _, typed := range p.LocationSelectors {
			selectors = append(selectors, parse("--location-selectors", typed))
		}
		spec["locationSelectors"] = selectors
	}
	if p.NamespaceSelector != nil {
		spec["namespaceSelector"] = parse("--namespace-selector", *p.NamespaceSelector)
	}
	if p.LocationWorkspace != "" {
		if _, err := workspace.Parse(p.LocationWorkspace); err != nil {
			mistakes = append(mistakes, fmt.Sprintf("--location-workspace: %v", err))
		}
		spec["locationWorkspace"] = p.LocationWorkspace
	}
	if len(mistakes) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(mistakes, "\n"))
	}
	return spec, nil
}

// labelSelector is the selector in the form of the API. It knows what labels.Parse knows, but for the comparisons of numbers.
func labelSelector(typed string) (*metav1.LabelSelector, error) {
	requirements, err := labels.ParseToRequirements(typed)
	if err != nil {
		return nil, err
	}
	operators := map[selection.Operator]metav1.LabelSelectorOperator{
		selection.NotEquals: metav1.LabelSelectorOpNotIn, selection.In: metav1.LabelSelectorOpIn, selection.NotIn: metav1.LabelSelectorOpNotIn,
		selection.Equals: metav1.LabelSelectorOpIn, selection.DoubleEquals: metav1.LabelSelectorOpIn,
		selection.Exists: metav1.LabelSelectorOpExists, selection.DoesNotExist: metav1.LabelSelectorOpDoesNotExist,
	}
	selector := &metav1.LabelSelector{}
	for _, requirement := range requirements {
		values := requirement.Values().List()
		if _, twice := selector.MatchLabels[requirement.Key()]; !twice && (requirement.Operator() == selection.Equals || requirement.Operator() == selection.DoubleEquals) {
			metav1.AddLabelToSelector(selector, requirement.Key(), values[0])
			continue
		}
		operator, known := operators[requirement.Operator()]
		if !known {
			return nil, fmt.Errorf("the operator %q cannot be used here", requirement.Operator())
		}
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{Key: requirement.Key(), Operator: operator, Values: values})
	}
	return selector, nil
}

// Place makes the Placement in the workspace at path, or changes what was asked for in the one that exists, and waits until the
// workload manager has chosen targets for it. What stands against that is written to out as it changes.
func Place(ctx context.Context, kcp *rest.Config, path logicalcluster.Path, p Placement, out io.Writer) error {
	spec, err := p.spec()
	if err != nil {
		return err
	}
	client, err := workspace.Client(kcp, path)
	if err != nil {
		return err
	}
	placements := client.Resource(workspace.Placements)
	if err := put(ctx, placements, p.Name, spec, &apply.Run{Out: out}); err != nil {
		return fmt.Errorf("placing the work of workspace %s: %w", path, workspace.Explain(err, kcp.Host, path))
	}
	return awaitScheduled(ctx, placements, p.Name, out)
}

func put(ctx context.Context, placements dynamic.ResourceInterface, name string, spec map[string]any, run *apply.Run) error {
	existing, err := placements.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if _, chosen := spec["namespaceSelector"]; !chosen {
			spec["namespaceSelector"] = map[string]any{}
		}
		_, err := placements.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": schedulingv1alpha1.SchemeGroupVersion.String(), "kind": "Placement",
			"metadata": map[string]any{"name": name}, "spec": spec,
		}}, metav1.CreateOptions{FieldManager: apply.FieldManager})
		if err == nil {
			run.Note("Placement", name, apply.Created)
		}
		return err
	}
	if err != nil {
		return err
	}
	outcome, err := change(ctx, placements, existing, spec)
	if err == nil {
		run.Note("Placement", name, outcome)
	}
	return err
}

func change(ctx context.Context, placements dynamic.ResourceInterface, existing *unstructured.Unstructured, spec map[string]any) (apply.Outcome, error) {
	if len(spec) == 0 {
		return apply.Unchanged, nil
	}
	// A merge would keep the requirements of the old selector.
	operations := []map[string]any{{"op": "test", "path": "/metadata/uid", "value": existing.GetUID()}}
	for _, field := range []string{"locationSelectors", "locationWorkspace", "namespaceSelector"} {
		if value, asked := spec[field]; asked {
			operations = append(operations, map[string]any{"op": "add", "path": "/spec/" + field, "value": value})
		}
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		return "", err
	}
	after, err := placements.Patch(ctx, existing.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: apply.FieldManager})
	switch {
	case err != nil:
		return "", err
	case after.GetGeneration() == existing.GetGeneration():
		return apply.Unchanged, nil
	}
	return apply.Updated, nil
}

// awaitScheduled waits until the Placement has all its targets.
func awaitScheduled(ctx context.Context, placements dynamic.ResourceInterface, name string, out io.Writer) error {
	var told string
	err := workspace.Poll(ctx, func(ctx context.Context) (bool, error) {
		content, err := placements.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		var placement schedulingv1alpha1.Placement
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content.Object, &placement); err != nil {
			return false, err
		}
		done, says := scheduled(&placement)
		if says != told && (told != "" || done || meta.FindStatusCondition(placement.Status.Conditions, schedulingv1alpha1.PlacementScheduled) != nil) {
			_, _ = fmt.Fprintln(out, says)
			told = says
		}
		if !done {
			return false, fmt.Errorf("%s", says)
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until Placement %s has its targets (it goes on without this command): %w", name, err)
	}
	return nil
}

// scheduled tells whether the Placement, as it is now, has its targets, and which they are or why not.
func scheduled(placement *schedulingv1alpha1.Placement) (done bool, says string) {
	condition := meta.FindStatusCondition(placement.Status.Conditions, schedulingv1alpha1.PlacementScheduled)
	switch {
	case condition == nil:
		return false, "no workload manager has looked at it: does one serve the provider?"
	case condition.ObservedGeneration < placement.Generation:
		return false, "the workload manager has not looked at the change yet"
	case condition.Status != metav1.ConditionTrue:
		return false, fmt.Sprintf("not scheduled: %s: %s", condition.Reason, condition.Message)
	}
	var targets []string
	for i := range placement.Status.SelectedTargets {
		if target := &placement.Status.SelectedTargets[i]; target.Phase == schedulingv1alpha1.TargetSelected {
			targets = append(targets, fmt.Sprintf("%s (location %s)", target.Name, target.Location))
		}
	}
	return true, "scheduled  to " + strings.Join(targets, ", ")
}
