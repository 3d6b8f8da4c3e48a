package tmc

import "testing"

func TestRequestName(t *testing.T) {
	for path, want := range map[string]string{
		"/version": "GET",
		"/api/v1":  "GET discovery",
		"/apis":    "GET discovery",
		"/api/v1/namespaces/web/configmaps/settings": "GET configmaps",
		"/api/v1/namespaces/web":                     "GET namespaces",
		"/api/v1/namespaces/web/status":              "GET namespaces/status",
		"/api/v1/nodes/n1":                           "GET nodes",
		"/clusters/root:team/apis/apps/v1/namespaces/web/deployments/hello/status":                        "GET deployments/status",
		"/services/apiexport/2abc/kubernetes/clusters/*/apis/apps/v1/deployments":                         "GET deployments",
		"/apis/workload.kcp.io/v1alpha1/synctargets/east/status":                                          "GET synctargets/status",
		"/services/workload/x/east/shard/down/clusters/2abc/api/v1/namespaces/web/secrets/token":          "GET secrets",
		"/clusters/root:compute/apis/coordination.k8s.io/v1/namespaces/default/leases/workload-manager":   "GET leases",
		"/apis/authorization.k8s.io/v1/subjectaccessreviews":                                              "GET subjectaccessreviews",
		"/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces":                                          "GET workspaces",
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com/status":              "GET customresourcedefinitions/status",
		"/clusters/root:x/apis/apiresource.kcp.io/v1alpha1/apiresourceimports/deployments.east.v1.apps.x": "GET apiresourceimports",
	} {
		if got := requestName("GET", path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
