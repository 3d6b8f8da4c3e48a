package onboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"
	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"
	kcpclientset "github.com/kcp-dev/sdk/client/clientset/versioned"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/apply"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// session is one run of the command.
type session struct {
	kcp     *rest.Config
	path    logicalcluster.Path
	options Options
	out     io.Writer

	client    dynamic.Interface
	kcpClient kcpclientset.Interface
	run       *apply.Run
	// name of all objects.
	name string
}

// Sync makes what a syncer needs in the workspace at path, telling each change on progress, and gives the manifest that installs
// it in a physical cluster.
func Sync(ctx context.Context, kcp *rest.Config, path logicalcluster.Path, o Options, progress io.Writer) (manifest []byte, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	trusted, err := authorities(kcp, o)
	if err != nil {
		return nil, err
	}
	s := &session{kcp: kcp, path: path, options: o, out: progress}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	manifest, err = s.sync(ctx, trusted)
	if err != nil {
		return nil, fmt.Errorf("in workspace %s: %w", path, s.explain(err))
	}
	return manifest, nil
}

func (s *session) connect(ctx context.Context) error {
	scoped, err := workspace.Config(s.kcp, s.path)
	if err != nil {
		return err
	}
	if s.client, err = dynamic.NewForConfig(scoped); err != nil {
		return err
	}
	if s.kcpClient, err = kcpclientset.NewForConfig(scoped); err != nil {
		return err
	}
	s.run = &apply.Run{Client: s.client, Out: s.out, DryRun: s.options.DryRun}
	here, err := s.kcpClient.CoreV1alpha1().LogicalClusters().Get(ctx, corev1alpha1.LogicalClusterName, metav1.GetOptions{})
	if err != nil {
		return workspace.Explain(err, s.kcp.Host, s.path)
	}
	s.name = nameFor(logicalcluster.From(here).String(), s.options.Name)
	return nil
}

func (s *session) sync(ctx context.Context, trusted []byte) ([]byte, error) {
	target, err := s.ensureTarget(ctx)
	if err != nil {
		return nil, err
	}
	resources, err := s.wantedResources(ctx, target)
	if err != nil {
		return nil, err
	}
	resources, upsynced := s.split(target, resources)
	if err := s.ensureAccess(ctx, resources, upsynced); err != nil {
		return nil, err
	}
	token, err := s.ensureToken(ctx)
	if err != nil {
		return nil, err
	}
	server, err := serverOf(s.kcp, s.options, s.path)
	if err != nil {
		return nil, err
	}
	way, err := kubeconfig(server, s.kcp.ServerName, trusted, token)
	if err != nil {
		return nil, err
	}
	return s.manifest(target, resources, upsynced, way).Render()
}

func (s *session) manifest(target *workloadv1alpha1.SyncTarget, resources, upsynced []schema.GroupResource, kubeconfig []byte) Manifest {
	o := s.options
	m := Manifest{
		Name: s.name, Namespace: o.Namespace, SyncTarget: o.Name, UID: target.UID, Workspace: s.path.String(), Feed: o.Feed,
		Image: o.Image, Replicas: o.Replicas, Resources: resources, Upsynced: upsynced, Filter: len(o.Resources) > 0, SyncerFlags: o.SyncerFlags,
		Kubeconfig: kubeconfig,
	}
	if m.Namespace == "" {
		m.Namespace = s.name
	}
	return m
}

// explain adds to workspace.Explain what only this command can meet.
func (s *session) explain(err error) error {
	var status apierrors.APIStatus
	missing := errors.As(err, &status) && apierrors.IsNotFound(err) && status.Status().Details != nil && status.Status().Details.Name == ""
	if missing {
		return fmt.Errorf("it does not serve SyncTargets: bind them with `kubectl workload bind PROVIDER --export %s`, or choose another workspace with --workspace: %w", workloadv1alpha1.GroupName, err)
	}
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("this user may not do that: ask the owner of the workspace to do it, or for the permission: %w", err)
	}
	return workspace.Explain(err, s.kcp.Host, s.path)
}

// ensureTarget makes the SyncTarget, or adds to the one that exists what was asked for.
func (s *session) ensureTarget(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	targets := s.client.Resource(workspace.SyncTargets)
	existing, err := targets.Get(ctx, s.options.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return s.createTarget(ctx, targets)
	}
	if err != nil {
		return nil, err
	}
	if existing.GetDeletionTimestamp() != nil {
		return nil, fmt.Errorf("SyncTarget %s is being deleted: wait until it is gone, or choose another name", s.options.Name)
	}
	return s.updateTarget(ctx, targets, existing)
}

func (s *session) createTarget(ctx context.Context, targets dynamic.ResourceInterface) (*workloadv1alpha1.SyncTarget, error) {
	wanted, err := asked(s.options)
	if err != nil {
		return nil, err
	}
	wanted.Name = s.options.Name
	if len(s.options.APIExports) == 0 {
		export, err := s.defaultExport(ctx)
		if err != nil {
			return nil, err
		}
		wanted.Spec.SupportedAPIExports = []workloadv1alpha1.APIExportReference{export}
	}
	object, err := written(wanted)
	if err != nil {
		return nil, err
	}
	created, err := targets.Create(ctx, object, metav1.CreateOptions{FieldManager: apply.FieldManager, DryRun: s.dryRun()})
	if err != nil {
		return nil, err
	}
	return s.noteTarget(created, apply.Created)
}

// updateTarget sets what was asked for, and leaves everything else as it is: the SyncTarget is the operator's.
func (s *session) updateTarget(ctx context.Context, targets dynamic.ResourceInterface, existing *unstructured.Unstructured) (*workloadv1alpha1.SyncTarget, error) {
	wanted, err := asked(s.options)
	if err != nil {
		return nil, err
	}
	object, err := written(wanted)
	if err != nil {
		return nil, err
	}
	patch, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	after, err := targets.Patch(ctx, s.options.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: apply.FieldManager, DryRun: s.dryRun()})
	if err != nil {
		return nil, err
	}
	if existing.GetGeneration() == after.GetGeneration() && maps.Equal(existing.GetLabels(), after.GetLabels()) {
		return s.noteTarget(after, apply.Unchanged)
	}
	return s.noteTarget(after, apply.Updated)
}

// asked is what the options say about the SyncTarget.
func asked(o Options) (*workloadv1alpha1.SyncTarget, error) {
	target := &workloadv1alpha1.SyncTarget{
		TypeMeta:   metav1.TypeMeta{APIVersion: workloadv1alpha1.SchemeGroupVersion.String(), Kind: "SyncTarget"},
		ObjectMeta: metav1.ObjectMeta{Labels: o.Labels},
	}
	for key, value := range o.Cells {
		if target.Spec.Cells == nil {
			target.Spec.Cells = map[string]workloadv1alpha1.CellValue{}
		}
		target.Spec.Cells[key] = workloadv1alpha1.CellValue(value)
	}
	for _, resource := range o.ExportedResources {
		target.Spec.ExportedResources = append(target.Spec.ExportedResources, workloadv1alpha1.ExportedResource(resource))
	}
	if o.UpsyncedResources != nil {
		target.Spec.UpsyncedResources = []workloadv1alpha1.ExportedResource{}
	}
	for _, resource := range o.UpsyncedResources {
		target.Spec.UpsyncedResources = append(target.Spec.UpsyncedResources, workloadv1alpha1.ExportedResource(resource))
	}
	for _, typed := range o.APIExports {
		export, err := parseExport(typed)
		if err != nil {
			return nil, err
		}
		target.Spec.SupportedAPIExports = append(target.Spec.SupportedAPIExports, export)
	}
	return target, nil
}

func (s *session) noteTarget(object *unstructured.Unstructured, outcome apply.Outcome) (*workloadv1alpha1.SyncTarget, error) {
	target := &workloadv1alpha1.SyncTarget{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, target); err != nil {
		return nil, err
	}
	s.run.Note("SyncTarget", target.Name, outcome)
	return target, nil
}

func (s *session) dryRun() []string {
	if s.options.DryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// wantedResources are the types that the syncer may sync: those named, or else all of the SyncTarget's exports and those that the
// cluster itself offers to tenants.
func (s *session) wantedResources(ctx context.Context, target *workloadv1alpha1.SyncTarget) (wanted []schema.GroupResource, err error) {
	for _, resource := range s.options.Resources {
		wanted = append(wanted, schema.ParseGroupResource(resource))
	}
	if len(wanted) > 0 {
		return wanted, nil
	}
	if wanted, err = s.resources(ctx, target.Spec.SupportedAPIExports); err != nil {
		return nil, err
	}
	for _, resource := range target.Spec.ExportedResources {
		wanted = append(wanted, schema.ParseGroupResource(string(resource)))
	}
	return wanted, nil
}

// split tells what is synced down from what comes up: clusters make the latter by themselves.
func (s *session) split(target *workloadv1alpha1.SyncTarget, wanted []schema.GroupResource) (down, up []schema.GroupResource) {
	for _, resource := range target.UpsyncedResources() {
		if len(s.options.Resources) == 0 || slices.Contains(wanted, resource) {
			up = append(up, resource)
		}
	}
	for _, resource := range wanted {
		if !slices.Contains(target.UpsyncedResources(), resource) && !slices.Contains(workloadv1alpha1.ClusterMadeResources(), resource) {
			down = append(down, resource)
		}
	}
	return down, up
}

// ensureAccess makes the syncer's ServiceAccount in kcp and gives it its rights.
func (s *session) ensureAccess(ctx context.Context, resources, upsynced []schema.GroupResource) error {
	labels := labelsOf(s.name)
	namespace := &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: s.options.KCPNamespace},
	}
	account := &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.options.KCPNamespace, Name: s.name, Labels: labels},
	}
	role := &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: labels},
		Rules:      kcpRules(s.options, resources, upsynced),
	}
	binding := &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: labels},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.options.KCPNamespace, Name: s.name}},
	}
	policy, policyBinding := s.importsPolicy()
	for _, step := range []struct {
		put      func(context.Context, schema.GroupVersionResource, *unstructured.Unstructured) error
		resource schema.GroupVersionResource
		object   runtime.Object
	}{
		{s.run.Create, corev1.SchemeGroupVersion.WithResource("namespaces"), namespace},
		{s.run.Apply, corev1.SchemeGroupVersion.WithResource("serviceaccounts"), account},
		{s.run.Apply, rbacv1.SchemeGroupVersion.WithResource("clusterroles"), role},
		// Before the rights are there.
		{s.run.Apply, admissionregistrationv1.SchemeGroupVersion.WithResource("validatingadmissionpolicies"), policy},
		{s.run.Apply, admissionregistrationv1.SchemeGroupVersion.WithResource("validatingadmissionpolicybindings"), policyBinding},
		{s.run.Apply, rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings"), binding},
	} {
		object, err := written(step.object)
		if err != nil {
			return err
		}
		if err := step.put(ctx, step.resource, object); err != nil {
			return err
		}
	}
	return nil
}

// kcpRules are the syncer's rights in the SyncTarget's workspace. With the assigned feed it sees objects through the virtual
// workspace alone, which asks for the verb sync; with the workspace feed it works with the workspace's objects themselves.
func kcpRules(o Options, resources, upsynced []schema.GroupResource) []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, ResourceNames: []string{o.Name}, Verbs: []string{"get", "list", "watch", "sync"}},
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets/status"}, ResourceNames: []string{o.Name}, Verbs: []string{"patch"}},
		// What the cluster serves, and what the manager makes of it. Whose imports it may write is up to importsPolicy.
		{APIGroups: []string{apiresourcev1alpha1.GroupName}, Resources: []string{"apiresourceimports"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}},
	}
	if o.Feed != string(workloadv1alpha1.FeedWorkspace) {
		return rules
	}
	rules = append(rules,
		rbacv1.PolicyRule{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, Verbs: []string{"list"}}, // does another claim the workspace?
		rbacv1.PolicyRule{APIGroups: []string{"apis.kcp.io"}, Resources: []string{"apibindings"}, Verbs: []string{"list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, Verbs: []string{"list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{corev1.GroupName}, Resources: []string{"namespaces"}, Verbs: []string{"list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{corev1.GroupName}, Resources: []string{"events"}, Verbs: []string{"create"}},
	)
	rules = append(rules, rulesFor(resources, "get", "list", "watch", "patch")...)
	rules = append(rules, rulesFor(upsynced, "get", "list", "watch", "create", "patch", "delete")...)
	return append(rules, rulesFor(statusesOf(slices.Concat(resources, upsynced)), "patch")...)
}

func statusesOf(resources []schema.GroupResource) []schema.GroupResource {
	statuses := make([]schema.GroupResource, 0, len(resources))
	for _, resource := range resources {
		resource.Resource += "/status"
		statuses = append(statuses, resource)
	}
	return statuses
}
