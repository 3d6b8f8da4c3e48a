// Package onboard gives a physical cluster its SyncTarget: all that a syncer needs in kcp, and the manifest that installs it in
// the cluster. Done again, it changes nothing and gives the same manifest.
package onboard

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Options are what was typed, possibly wrong.
type Options struct {
	// Name of the SyncTarget.
	Name string
	// Image of the syncer.
	Image    string
	Replicas int32
	// Namespace of the syncer in the physical cluster; made from the SyncTarget's name if empty.
	Namespace string
	// KCPNamespace is where the syncer's ServiceAccount and its token live in kcp.
	KCPNamespace string
	Feed         string
	// APIExports are those that the SyncTarget accepts, as <workspace>:<export>.
	APIExports []string
	// Resources are the types to sync; all of the APIExports if empty.
	Resources []string
	// ExportedResources are types of the cluster itself that tenants shall be offered. If empty, those of the SyncTarget stay.
	ExportedResources []string
	// UpsyncedResources are types whose objects the cluster may bring up. If nil, those of the SyncTarget stay.
	UpsyncedResources []string
	// Labels and Cells of the SyncTarget. Those that it has and that are not here stay.
	Labels, Cells map[string]string
	// Flags of the syncer, as they are to stand in its command line, for those that were set.
	SyncerFlags []string
	// KCPServer is kcp's URL as the physical cluster reaches it, if that differs from the one in the kubeconfig.
	KCPServer string
	// KCPCAFile and VirtualWorkspaceCAFile hold the certificates of further authorities for the syncer to trust.
	KCPCAFile, VirtualWorkspaceCAFile string
	// RotateToken makes a new token beside the one in use.
	RotateToken bool
	// DryRun changes nothing, and shows no token.
	DryRun bool
}

// Validate gives all that is wrong with the options, each under the flag that has to change.
func (o Options) Validate() error {
	var mistakes []error
	add := func(what, format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("%s: "+format, append([]any{what}, args...)...))
	}
	if problems := apivalidation.NameIsDNSSubdomain(o.Name, false); len(problems) > 0 {
		add("NAME", "%q is no name for a SyncTarget: %s", o.Name, strings.Join(problems, "; "))
	}
	if o.Image == "" || strings.ContainsAny(o.Image, " \t\n") {
		add("--image", "required: the image of the workload-syncer, such as registry.example.com/workload-syncer:v1")
	}
	if o.Replicas < 0 {
		add("--replicas", "%d is negative", o.Replicas)
	}
	for flag, namespace := range map[string]string{"--namespace": o.Namespace, "--kcp-namespace": o.KCPNamespace} {
		if problems := apivalidation.ValidateNamespaceName(namespace, false); namespace != "" && len(problems) > 0 {
			add(flag, "%q is no name for a namespace: %s", namespace, strings.Join(problems, "; "))
		}
	}
	if o.KCPNamespace == "" {
		add("--kcp-namespace", "required: the namespace in kcp for the syncer's ServiceAccount")
	}
	if feed := workloadv1alpha1.FeedKind(o.Feed); feed != workloadv1alpha1.FeedAssigned && feed != workloadv1alpha1.FeedWorkspace {
		add("--feed", "%q is not known: one of %s, %s", o.Feed, workloadv1alpha1.FeedAssigned, workloadv1alpha1.FeedWorkspace)
	}
	if u, err := url.Parse(o.KCPServer); o.KCPServer != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		add("--kcp-server", "%q is no https URL", o.KCPServer)
	}
	for flag, resources := range map[string][]string{
		"--resources": o.Resources, "--exported-resources": o.ExportedResources, "--upsync-resources": o.UpsyncedResources,
	} {
		for _, resource := range resources {
			if !isResource(resource) {
				add(flag, "%q is no resource: its plural in lower case, a dot and its group unless that is the core group, such as deployments.apps or configmaps", resource)
			}
		}
	}
	for _, export := range o.APIExports {
		if _, err := parseExport(export); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.Labels)) {
		for _, problem := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(o.Labels[key])...) {
			add("--labels", "%s=%s: %s", key, o.Labels[key], problem)
		}
	}
	slices.SortFunc(mistakes, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(mistakes...)
}

func isResource(typed string) bool {
	gr := schema.ParseGroupResource(typed)
	return len(validation.IsDNS1123Label(gr.Resource)) == 0 && (gr.Group == "" || len(validation.IsDNS1123Subdomain(gr.Group)) == 0)
}

// parseExport reads <workspace>:<export>; the workspace's own if there is none.
func parseExport(typed string) (workloadv1alpha1.APIExportReference, error) {
	reference := workloadv1alpha1.APIExportReference{Export: typed}
	if i := strings.LastIndex(typed, ":"); i >= 0 {
		reference.Path, reference.Export = typed[:i], typed[i+1:]
	}
	if reference.Export == "" || strings.HasPrefix(typed, ":") {
		return reference, fmt.Errorf("--apiexports: %q is no APIExport: its workspace, a colon and its name, such as root:compute:kubernetes", typed)
	}
	return reference, nil
}
