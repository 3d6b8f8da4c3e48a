package apiexport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kcp-dev/logicalcluster/v3"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
)

var (
	importsGVR    = apiresourcev1alpha1.SchemeGroupVersion.WithResource("apiresourceimports")
	negotiatedGVR = apiresourcev1alpha1.SchemeGroupVersion.WithResource("negotiatedapiresources")
)

// setConditions gives all conditions as they shall be. Transition times are those of before where the status is the same.
func setConditions(before []metav1.Condition, generation int64, now time.Time, wanted ...metav1.Condition) (after []metav1.Condition, changed bool) {
	for _, c := range before {
		after = append(after, *c.DeepCopy())
	}
	for _, c := range wanted {
		c.ObservedGeneration, c.LastTransitionTime = generation, metav1.NewTime(now).Rfc3339Copy()
		changed = meta.SetStatusCondition(&after, c) || changed
	}
	return after, changed
}

// statusPatch is the merge patch that makes the status right; nil if it is.
func statusPatch(before *apiresourcev1alpha1.NegotiatedAPIResource, v Version, schemaName string, now time.Time) (map[string]any, error) {
	after := before.DeepCopy()
	after.Status.Conditions, _ = setConditions(before.Status.Conditions, before.Generation, now, v.Compatible, v.Published)
	after.Status.Imports, after.Status.APIResourceSchema, after.Status.Negotiated = int64(v.Imports), schemaName, nil
	if v.Negotiated != nil {
		var err error
		if after.Status.Negotiated, err = v.Negotiated.encode(); err != nil {
			return nil, err
		}
	}
	return difference(before.Status, after.Status)
}

func difference(before, after apiresourcev1alpha1.NegotiatedAPIResourceStatus) (map[string]any, error) {
	rawBefore, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	rawAfter, err := json.Marshal(after)
	if err != nil {
		return nil, err
	}
	raw, err := jsonpatch.CreateMergePatch(rawBefore, rawAfter)
	if err != nil {
		return nil, err
	}
	patch := map[string]any{}
	if err := json.Unmarshal(raw, &patch); err != nil || len(patch) == 0 {
		return nil, err
	}
	return map[string]any{"status": patch}, nil
}

// errNotServed: the provider's workspace has not bound workload.kcp.io, so that nothing can be kept or set there. What is
// offered does not depend on it.
var errNotServed = errors.New("the provider's workspace does not serve NegotiatedAPIResources; run kubectl workload init, or bind workload.kcp.io there")

// createNegotiated makes the object that an operator can set publish on. It is nil if it is there already, and not seen yet.
func (c *Controller) createNegotiated(ctx context.Context, cluster logicalcluster.Name, resource apiresourcev1alpha1.ResourceName) (*apiresourcev1alpha1.NegotiatedAPIResource, error) {
	wanted := &apiresourcev1alpha1.NegotiatedAPIResource{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiresourcev1alpha1.SchemeGroupVersion.String(), Kind: "NegotiatedAPIResource"},
		ObjectMeta: metav1.ObjectMeta{Name: resource.ObjectName()},
		Spec:       apiresourcev1alpha1.NegotiatedAPIResourceSpec{ResourceName: resource},
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wanted)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	answer, err := c.writer.Create(ctx, negotiatedGVR, cluster, &unstructured.Unstructured{Object: content})
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil, nil //nolint:nilnil // it is about to be seen, which leads to another pass
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: %w", errNotServed, err)
	}
	if err != nil {
		return nil, err
	}
	made := &apiresourcev1alpha1.NegotiatedAPIResource{}
	return made, runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, made)
}
