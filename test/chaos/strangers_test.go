package chaos

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// strangerLabel marks what is not ours, for the tests. Nobody else knows it.
const strangerLabel = "chaos.example.com/stranger"

// taken is a name for which there is an original in a workspace and a stranger's object where its copy would be.
const taken = "taken"

// strangers are objects that are nobody's business: of the clusters themselves, among the copies, in the place of a copy, with
// another target's mark, and in the workspaces, where they are assigned to nobody.
type strangers struct {
	stage *stage
	// places are where to look, by name.
	places map[string]dynamic.Interface
	before map[string]string
}

// inhabitants are the workspaces in whose namespaces strangers live, by target: those that the target begins with.
var inhabitants = map[string][]int{string(East): {0}, string(West): {1}}

func (s *stage) invite(ctx context.Context) (*strangers, error) {
	x := &strangers{stage: s, places: map[string]dynamic.Interface{}}
	for i, ws := range s.workspaces {
		x.places[fmt.Sprintf("workspace %d", i)] = ws.client
		if err := makeAll(ctx, ws.client, Namespace, "private", ""); err != nil {
			return nil, err
		}
	}
	for _, t := range s.targets {
		x.places["cluster "+t.name] = t.down
		if _, err := t.down.Resource(namespaces).Create(ctx, parse(`{apiVersion: v1, kind: Namespace, metadata: {name: strangers}}`), metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		if err := makeAll(ctx, t.down, "strangers", "own", ""); err != nil {
			return nil, err
		}
		if err := makeAll(ctx, t.down, "strangers", "marked", workloadv1alpha1.DownstreamClusterLabel+": somebody-else"); err != nil {
			return nil, err
		}
		for _, workspace := range inhabitants[t.name] {
			if err := makeAll(ctx, t.down, s.namespaceOf(t.name, workspace), "guest", ""); err != nil {
				return nil, err
			}
			if err := makeAll(ctx, t.down, s.namespaceOf(t.name, workspace), taken, ""); err != nil {
				return nil, err
			}
			original := parse(fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: %s, labels: {%s: "true"}}, data: {a: b}}`, taken, Namespace, workloadv1alpha1.AssignLabel))
			if _, err := of(s.workspaces[workspace].client, ConfigMap, Namespace).Create(ctx, original, metav1.CreateOptions{}); err != nil {
				return nil, err
			}
		}
	}
	var err error
	x.before, err = x.look(ctx)
	return x, err
}

// makeAll makes a stranger of each kind that no controller of the cluster changes.
func makeAll(ctx context.Context, client dynamic.Interface, namespace, name, label string) error {
	labels := strangerLabel + `: "true"`
	if label != "" {
		labels += ", " + label
	}
	for _, text := range []string{
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: %[1]s, namespace: %[2]s, labels: {%[3]s}}, data: {a: stranger}}`,
		`{apiVersion: v1, kind: Secret, metadata: {name: %[1]s, namespace: %[2]s, labels: {%[3]s}}, stringData: {a: stranger}}`,
	} {
		u := parse(fmt.Sprintf(text, name, namespace, labels))
		if _, err := of(client, Kind(u.GetKind()), namespace).Create(ctx, u, metav1.CreateOptions{FieldManager: "stranger"}); err != nil {
			return err
		}
	}
	return nil
}

// look gives all strangers as they are, by where they are.
func (x *strangers) look(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for place, client := range x.places {
		for _, kind := range []Kind{ConfigMap, Secret} {
			list, err := client.Resource(Resources[kind]).List(ctx, metav1.ListOptions{LabelSelector: strangerLabel})
			if err != nil {
				return nil, err
			}
			for i := range list.Items {
				u := &list.Items[i]
				all[fmt.Sprintf("%s %s/%s in %s", kind, u.GetNamespace(), u.GetName(), place)] = byteForByte(u)
			}
		}
	}
	return all, nil
}

// judge compares with the beginning, and looks whether the tenants whose names are taken are told.
func (x *strangers) judge(ctx context.Context, homes []Home) ([]string, error) {
	now, err := x.look(ctx)
	if err != nil {
		return nil, err
	}
	complaints := Changed(x.before, now)
	for target, workspaces := range inhabitants {
		for _, workspace := range workspaces {
			u, err := of(x.stage.workspaces[workspace].client, ConfigMap, Namespace).Get(ctx, taken, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			told := strings.Contains(u.GetAnnotations()[workloadv1alpha1.ConditionsAnnotation(x.stage.targets[target].key)], workloadv1alpha1.ReasonConflict)
			if want := homes[workspace].Has(target); told != want {
				complaints = append(complaints, fmt.Sprintf("workspace %d is told that a name is taken on %s: %t, want %t: %v", workspace, target, told, want, u.GetAnnotations()))
			}
		}
	}
	return complaints, nil
}

// inNamespace is the client for a type in a namespace, or of all without one.
func inNamespace(client dynamic.Interface, u *unstructured.Unstructured, resource string) dynamic.ResourceInterface {
	gvr := schema.FromAPIVersionAndKind(u.GetAPIVersion(), "").GroupVersion().WithResource(resource)
	if u.GetNamespace() == "" {
		return client.Resource(gvr)
	}
	return client.Resource(gvr).Namespace(u.GetNamespace())
}
