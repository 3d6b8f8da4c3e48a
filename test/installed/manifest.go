// Package installed takes a manifest that `kubectl workload sync` printed for what it says: it installs it in a physical cluster, and
// tells how a syncer runs there, with which credentials, arguments and environment. Nodes are simulated, so somebody has to run it.
package installed

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// Manifest is what is to be installed, in its order.
type Manifest struct {
	Objects []*unstructured.Unstructured
}

// Read reads the YAML.
func Read(raw []byte) (*Manifest, error) {
	m := &Manifest{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			m.Objects = append(m.Objects, object)
		}
	}
}

// Of is the first object of that kind.
func (m *Manifest) Of(kind string) *unstructured.Unstructured {
	for _, object := range m.Objects {
		if object.GetKind() == kind {
			return object
		}
	}
	return &unstructured.Unstructured{}
}

// Apply installs it as `kubectl apply --server-side --validate=strict` does. Nothing can be asked about a namespace that does not exist, so
// that one is made first and everything else asked about before it is made too.
func (m *Manifest) Apply(ctx context.Context, cluster *rest.Config) error {
	client, err := dynamic.NewForConfig(cluster)
	if err != nil {
		return err
	}
	for i, object := range m.Objects {
		if i > 0 {
			err = apply(ctx, client, object, metav1.DryRunAll)
		} else {
			err = apply(ctx, client, object)
		}
		if err != nil {
			return err
		}
	}
	for _, object := range m.Objects[1:] {
		if err := apply(ctx, client, object); err != nil {
			return err
		}
	}
	return nil
}

func apply(ctx context.Context, client dynamic.Interface, object *unstructured.Unstructured, dryRun ...string) error {
	raw, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = Client(client, object).Patch(ctx, object.GetName(), types.ApplyPatchType, raw, metav1.PatchOptions{
		FieldManager: "kubectl", FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun, Force: ptr.To(true),
	})
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// Client reaches objects of the object's kind, in its namespace.
func Client(client dynamic.Interface, object *unstructured.Unstructured) dynamic.ResourceInterface {
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind()) // right for all kinds in a manifest
	if object.GetNamespace() == "" {
		return client.Resource(resource)
	}
	return client.Resource(resource).Namespace(object.GetNamespace())
}

// Kubeconfig is what is mounted for the way to kcp.
func (m *Manifest) Kubeconfig() ([]byte, error) {
	encoded, _, _ := unstructured.NestedString(m.Of("Secret").Object, "data", "kubeconfig")
	return base64.StdEncoding.DecodeString(encoded)
}

// Account is who the syncer is in the cluster: its ServiceAccount, with a token like that of its pods.
func (m *Manifest) Account(ctx context.Context, cluster *rest.Config) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	account := m.Of("ServiceAccount")
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 60 * 60)}}
	token, err := client.CoreV1().ServiceAccounts(account.GetNamespace()).CreateToken(ctx, account.GetName(), request, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(cluster)
	config.BearerToken = token.Status.Token
	return config, nil
}

// Command is how the Deployment runs the syncer. Only where the kubeconfig is mounted, and what a pod finds around it, are others here:
// they are given as files.
func (m *Manifest) Command(kcpKubeconfig, clusterKubeconfig string) (args, env []string) {
	containers, _, _ := unstructured.NestedSlice(m.Of("Deployment").Object, "spec", "template", "spec", "containers")
	if len(containers) == 0 {
		return nil, nil
	}
	container, _ := containers[0].(map[string]any)
	args, _, _ = unstructured.NestedStringSlice(container, "args")
	for i := range args {
		args[i] = strings.Replace(args[i], "/etc/workload-syncer/kcp/kubeconfig", kcpKubeconfig, 1)
	}
	args = append(args, "--cluster-kubeconfig="+clusterKubeconfig, "--leader-elect-resource-namespace="+m.Of("ServiceAccount").GetNamespace(),
		"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0")
	variables, _, _ := unstructured.NestedSlice(container, "env")
	for _, variable := range variables {
		if v, ok := variable.(map[string]any); ok {
			env = append(env, fmt.Sprintf("%s=%s", v["name"], v["value"]))
		}
	}
	return args, env
}
