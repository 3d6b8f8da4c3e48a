package onboard

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sigs.k8s.io/yaml"
)

// Manifest is what the manifest for a physical cluster depends on.
type Manifest struct {
	// Name of all objects, and Namespace of those that live in one.
	Name, Namespace string
	// SyncTarget and UID are whom the syncer serves, Workspace is where it is.
	SyncTarget string
	UID        types.UID
	Workspace  string
	Feed       string
	Image      string
	Replicas   int32
	// Resources that are synced; they are the syncer's rights.
	Resources []schema.GroupResource
	// Upsynced are the resources that come up, which it only reads.
	Upsynced []schema.GroupResource
	// Filter makes the syncer look at Resources and Upsynced only, whatever else there is.
	Filter bool
	// SyncerFlags are further flags.
	SyncerFlags []string
	// Kubeconfig is the way to kcp.
	Kubeconfig []byte
}

// Where things are in the syncer's container.
const (
	kubeconfigKey = "kubeconfig"
	credentials   = "/etc/workload-syncer/kcp"
	metricsPort   = 8080
	healthPort    = 8081

	// nonroot is the user of that name in distroless images; any other will do.
	nonroot int64 = 65532
)

// Render gives the manifest as YAML: the same bytes for the same input.
func (m Manifest) Render() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Installs the syncer of SyncTarget %s (workspace %s) in a physical cluster: kubectl apply -f <this file>\n"+
		"# It holds a token for kcp: keep it as you keep passwords.\n", m.SyncTarget, m.Workspace)
	for _, object := range m.objects() {
		plain, err := written(object)
		if err != nil {
			return nil, err
		}
		document, err := yaml.Marshal(plain.Object)
		if err != nil {
			return nil, err
		}
		out.WriteString("---\n")
		out.Write(document)
	}
	return out.Bytes(), nil
}

// written is an object as people write it: without what only a server fills in.
func written(object runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	dropEmpty(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// dropEmpty removes what the conversion leaves of fields that nobody set.
func dropEmpty(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, child := range v {
			dropEmpty(child)
			if m, isMap := child.(map[string]any); child == nil || isMap && len(m) == 0 {
				delete(v, name)
			}
		}
	case []any:
		for _, child := range v {
			dropEmpty(child)
		}
	}
}

// objects are in an order in which they can be created.
func (m Manifest) objects() []runtime.Object {
	objects := []runtime.Object{
		m.namespace(), m.serviceAccount(), m.clusterRole(), m.clusterRoleBinding(), m.role(), m.roleBinding(), m.secret(), m.deployment(),
	}
	if m.Replicas > 1 {
		objects = append(objects, m.disruptionBudget())
	}
	return objects
}

func (m Manifest) namespace() *corev1.Namespace {
	labels := labelsOf(m.Name)
	labels["pod-security.kubernetes.io/enforce"] = "restricted"
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: m.Namespace, Labels: labels},
	}
}

func (m Manifest) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   m.meta(),
		AutomountServiceAccountToken: new(false), // only the syncer's own pods ask for it
	}
}

// clusterRole lets the syncer do what it does for the synced types, and nothing else.
func (m Manifest) clusterRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: m.Name, Labels: labelsOf(m.Name)},
		Rules:      clusterRules(m.Resources, m.Upsynced),
	}
}

func clusterRules(synced, upsynced []schema.GroupResource) []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		// Each workspace's namespaces have one of their own here.
		{APIGroups: []string{corev1.GroupName}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"}},
		// The capacity that the SyncTarget reports.
		{APIGroups: []string{corev1.GroupName}, Resources: []string{"nodes"}, Verbs: []string{"list", "watch"}},
		// Types come and go.
		{APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, Verbs: []string{"get", "list", "watch"}},
	}
	rules = append(rules, rulesFor(synced, "get", "list", "watch", "create", "patch", "delete")...)
	return append(rules, rulesFor(upsynced, "get", "list", "watch")...)
}

// rulesFor gives one rule per API group, in the order of their names.
func rulesFor(resources []schema.GroupResource, verbs ...string) (rules []rbacv1.PolicyRule) {
	resources = slices.Clone(resources)
	slices.SortFunc(resources, func(a, b schema.GroupResource) int {
		return strings.Compare(a.Group+"/"+a.Resource, b.Group+"/"+b.Resource)
	})
	for _, resource := range slices.Compact(resources) {
		if last := len(rules) - 1; last >= 0 && rules[last].APIGroups[0] == resource.Group {
			rules[last].Resources = append(rules[last].Resources, resource.Resource)
			continue
		}
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{resource.Group}, Resources: []string{resource.Resource}, Verbs: verbs})
	}
	return rules
}

func (m Manifest) clusterRoleBinding() *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: m.Name, Labels: labelsOf(m.Name)},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: m.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: m.Namespace, Name: m.Name}},
	}
}

// role is for the Lease by which replicas agree on who works. RBAC cannot limit a creation to a name.
func (m Manifest) role() *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
		ObjectMeta: m.meta(),
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, Verbs: []string{"create"}},
			{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, ResourceNames: []string{m.Name}, Verbs: []string{"get", "update"}},
		},
	}
}

func (m Manifest) roleBinding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: m.meta(),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: m.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: m.Namespace, Name: m.Name}},
	}
}

func (m Manifest) secret() *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: m.meta(),
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{kubeconfigKey: m.Kubeconfig},
	}
}

func (m Manifest) deployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"},
		ObjectMeta: m.meta(),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(m.Replicas),
			Selector: &metav1.LabelSelector{MatchLabels: selectorOf(m.Name)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labelsOf(m.Name)},
				Spec:       m.podSpec(),
			},
		},
	}
}

func (m Manifest) podSpec() corev1.PodSpec {
	spec := corev1.PodSpec{
		ServiceAccountName:           m.Name,
		AutomountServiceAccountToken: new(true),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      ptr.To(nonroot),
			FSGroup:        ptr.To(nonroot), // so that it may read the kubeconfig
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{m.container()},
		Volumes: []corev1.Volume{{
			Name:         "kcp",
			VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: m.Name, DefaultMode: ptr.To[int32](0o440)}},
		}},
	}
	if m.Replicas > 1 {
		spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
				Weight: 100,
				PodAffinityTerm: corev1.PodAffinityTerm{
					LabelSelector: &metav1.LabelSelector{MatchLabels: selectorOf(m.Name)}, TopologyKey: corev1.LabelHostname,
				},
			}},
		}}
	}
	return spec
}

func (m Manifest) container() corev1.Container {
	return corev1.Container{
		Name:  component,
		Image: m.Image,
		Args:  m.args(),
		Env:   []corev1.EnvVar{{Name: "GOMEMLIMIT", Value: "900MiB"}}, // a tenth below the limit: collect before being killed
		Ports: []corev1.ContainerPort{
			{Name: "metrics", ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
			{Name: "health", ContainerPort: healthPort, Protocol: corev1.ProtocolTCP},
		},
		LivenessProbe:  probe("/livez", 3),
		ReadinessProbe: probe("/readyz", 1),
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "kcp", MountPath: credentials, ReadOnly: true}},
	}
}

func probe(path string, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("health")}},
		PeriodSeconds:    10,
		TimeoutSeconds:   5,
		FailureThreshold: failures,
	}
}

func (m Manifest) args() []string {
	args := []string{
		"--kcp-kubeconfig=" + credentials + "/" + kubeconfigKey,
		"--sync-target-name=" + m.SyncTarget,
		"--sync-target-uid=" + string(m.UID),
		"--feed=" + m.Feed,
		"--leader-elect",
		"--leader-elect-resource-name=" + m.Name,
		fmt.Sprintf("--metrics-port=%d", metricsPort),
		fmt.Sprintf("--health-port=%d", healthPort),
	}
	if m.Filter {
		var resources []string
		for _, rule := range rulesFor(slices.Concat(m.Resources, m.Upsynced)) {
			for _, name := range rule.Resources {
				resources = append(resources, schema.GroupResource{Group: rule.APIGroups[0], Resource: name}.String())
			}
		}
		args = append(args, "--resource-filters="+strings.Join(resources, ","))
	}
	return append(args, m.SyncerFlags...)
}

// disruptionBudget keeps a standby while nodes are drained.
func (m Manifest) disruptionBudget() *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: policyv1.SchemeGroupVersion.String(), Kind: "PodDisruptionBudget"},
		ObjectMeta: m.meta(),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: selectorOf(m.Name)},
		},
	}
}

func (m Manifest) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, Labels: labelsOf(m.Name)}
}

const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelManagedBy = "app.kubernetes.io/managed-by"
)

// selectorOf finds the syncer's pods, or its tokens.
func selectorOf(name string) map[string]string {
	return map[string]string{labelName: component, labelInstance: name}
}

func labelsOf(name string) map[string]string {
	labels := selectorOf(name)
	labels[labelManagedBy] = "kubectl-workload"
	return labels
}
