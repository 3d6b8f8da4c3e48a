package cli

import (
	"os"
	"strings"

	"k8s.io/client-go/rest"
)

// Surroundings are what the program finds around it. Tests bring their own.
type Surroundings interface {
	// InCluster is the connection that a pod gets to its own cluster.
	InCluster() (*rest.Config, error)
	// PodNamespace is the namespace of the pod that the program runs in; empty outside of a cluster.
	PodNamespace() string
	// Hostname of the machine or pod.
	Hostname() (string, error)
}

// podNamespaceFile is where a pod finds the namespace of its ServiceAccount.
const podNamespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// SystemSurroundings are the real ones.
type SystemSurroundings struct{}

// InCluster is the connection of the pod's ServiceAccount.
func (SystemSurroundings) InCluster() (*rest.Config, error) { return rest.InClusterConfig() }

// Hostname asks the operating system.
func (SystemSurroundings) Hostname() (string, error) { return os.Hostname() }

// PodNamespace is that of the pod's ServiceAccount.
func (SystemSurroundings) PodNamespace() string {
	raw, err := os.ReadFile(podNamespaceFile)
	if err != nil {
		return "" // not in a pod: the caller asks for the flag
	}
	return strings.TrimSpace(string(raw))
}
