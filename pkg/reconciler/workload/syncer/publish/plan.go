package publish

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
)

// found is what the cluster serves of what was asked for.
type found struct {
	resources map[schema.GroupVersionResource]apiresourcev1alpha1.ResourceDescription
	// failed are resources of which nothing can be said at the moment, and why.
	failed map[schema.GroupResource]error
}

// changes are what makes the imports right.
type changes struct {
	create, update, remove []apiresourcev1alpha1.APIResourceImport
}

// plan compares what the cluster serves with what was imported. Imports of resources that failed stay as they are.
func plan(f found, imports []*apiresourcev1alpha1.APIResourceImport, syncTarget string) (c changes) {
	imported := sets.New[schema.GroupVersionResource]()
	for _, i := range imports {
		now := *i // its description is replaced, not changed
		gvr := now.Spec.GVR()
		description, served := f.resources[gvr]
		_, unknown := f.failed[gvr.GroupResource()]
		switch {
		case imported.Has(gvr) || !served && !unknown:
			c.remove = append(c.remove, now)
		case served && !same(now.Spec.ResourceDescription, description):
			imported.Insert(gvr)
			now.Spec.ResourceDescription = description
			c.update = append(c.update, now)
		default:
			imported.Insert(gvr)
		}
	}
	for gvr, description := range f.resources {
		if imported.Has(gvr) {
			continue
		}
		name := apiresourcev1alpha1.NameOf(gvr)
		c.create = append(c.create, apiresourcev1alpha1.APIResourceImport{
			ObjectMeta: metav1.ObjectMeta{Name: name.ImportName(syncTarget)},
			Spec: apiresourcev1alpha1.APIResourceImportSpec{
				SyncTarget: syncTarget, ResourceName: name, ResourceDescription: description,
			},
		})
	}
	slices.SortFunc(c.create, func(a, b apiresourcev1alpha1.APIResourceImport) int { return strings.Compare(a.Name, b.Name) })
	return c
}

// same compares the content: the server may have stored it with its fields in another order.
func same(a, b apiresourcev1alpha1.ResourceDescription) bool {
	return reflect.DeepEqual(content(a), content(b))
}

func content(d apiresourcev1alpha1.ResourceDescription) any {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil
	}
	var out any
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}
