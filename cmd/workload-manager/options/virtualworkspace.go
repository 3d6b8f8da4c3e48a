package options

import (
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kcp-dev/logicalcluster/v3"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/virtualworkspace"
)

func addVirtualWorkspaceFlags(v *configv1alpha1.VirtualWorkspace, fs *pflag.FlagSet) {
	fs.IntVar(&v.Port, "virtual-workspace-port", v.Port,
		"The `port`, at --bind-address, where syncers see what is assigned to their SyncTargets. Zero is any free one.")
	fs.StringVar(&v.CertFile, "virtual-workspace-cert-file", v.CertFile,
		"The `file` with the certificate of the virtual workspace server, which syncers have to trust as they do kcp's: PEM, with intermediate ones behind it. It is read again when it changes. When empty, nothing is served.")
	fs.StringVar(&v.KeyFile, "virtual-workspace-key-file", v.KeyFile,
		"The `file` with the key for --virtual-workspace-cert-file.")
	fs.StringVar(&v.ClientCAFile, "virtual-workspace-client-ca-file", v.ClientCAFile,
		"The `file` with the authorities whose client certificates are accepted beside tokens: the common name is the user, organizations are groups, in every workspace. When empty, only tokens are.")
	fs.StringSliceVar(&v.UpsyncResources, "upsync-resources", v.UpsyncResources,
		"`Resources` that SyncTargets may have in spec.upsyncedResources, so that their clusters bring objects of them up into the tenants' namespaces. They are not synced down, and those that the APIExport does not have are not served. The plural in lower case, followed by a dot and the group unless that is the core group.")
	fs.IntVar(&v.MaxWatches, "virtual-workspace-max-watches", v.MaxWatches,
		"How many watches one SyncTarget may have open at this replica at the same time.")
	fs.IntVar(&v.MaxRequests, "virtual-workspace-max-requests", v.MaxRequests,
		"How many other requests of one SyncTarget may be under way at this replica at the same time.")
}

// completeVirtualWorkspace makes the configuration; nil if nothing is to be served.
func completeVirtualWorkspace(v configv1alpha1.VirtualWorkspace, bindAddress string, provider logicalcluster.Path, required bool, mistakes *cli.Mistakes) *virtualworkspace.Config {
	if v.CertFile == "" && v.KeyFile == "" && v.ClientCAFile == "" && !required {
		return nil
	}
	config := &virtualworkspace.Config{
		Address:  net.JoinHostPort(bindAddress, strconv.Itoa(v.Port)),
		CertFile: v.CertFile, KeyFile: v.KeyFile, ClientCAFile: v.ClientCAFile,
		Provider: provider, MaxWatches: v.MaxWatches, MaxRequests: v.MaxRequests,
	}
	if problems := validation.IsInRange(v.Port, 0, 65535); len(problems) > 0 {
		mistakes.Add("virtual-workspace-port", "%d is not a port: %s", v.Port, strings.Join(problems, "; "))
	}
	for _, file := range []struct {
		flag, path string
		required   bool
	}{
		{"virtual-workspace-cert-file", v.CertFile, true},
		{"virtual-workspace-key-file", v.KeyFile, true},
		{"virtual-workspace-client-ca-file", v.ClientCAFile, false},
	} {
		if file.path == "" && file.required {
			mistakes.Add(file.flag, "required: virtual workspaces are served over TLS only")
		} else if _, err := os.Stat(file.path); file.path != "" && err != nil {
			mistakes.Add(file.flag, "%s cannot be read: %v", file.path, err)
		}
	}
	for flag, limit := range map[string]int{"virtual-workspace-max-watches": v.MaxWatches, "virtual-workspace-max-requests": v.MaxRequests} {
		if limit < 1 {
			mistakes.Add(flag, "%d would let nobody in: give at least 1", limit)
		}
	}
	return config
}

// upsynced are the resources that SyncTargets may allow.
func upsynced(names []string, mistakes *cli.Mistakes) (resources []schema.GroupResource) {
	for _, typed := range names {
		resource := schema.ParseGroupResource(strings.TrimSpace(typed))
		if len(validation.IsDNS1123Label(resource.Resource)) > 0 || resource.Group != "" && len(validation.IsDNS1123Subdomain(resource.Group)) > 0 {
			mistakes.Add("upsync-resources", "%q is not a resource, as pods or endpointslices.discovery.k8s.io is", typed)
		}
		resources = append(resources, resource)
	}
	return resources
}
