package workspace

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kcp-dev/logicalcluster/v3"
)

// Explain adds to the error of a request to a workspace what the user can do about it.
func Explain(err error, host string, path logicalcluster.Path) error {
	base, _, splitErr := Split(host)
	if err == nil || splitErr != nil {
		return err
	}
	var network *net.OpError
	var unknownAuthority x509.UnknownAuthorityError
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s does not accept the credentials: renew those in the kubeconfig, or choose others with --context: %w", base, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("workspace %s of %s does not exist, or this user may not enter it: check --workspace, or ask its owner for access: %w", path, base, err)
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return fmt.Errorf("%s does not serve workspace %s: is this a kcp, and the workspace's path right? Choose them with --context and --workspace: %w", base, path, err)
	case errors.As(err, &unknownAuthority):
		return fmt.Errorf("%s shows a certificate of an authority that the kubeconfig does not know: set certificate-authority-data of the cluster there: %w", base, err)
	case errors.As(err, &network):
		return fmt.Errorf("%s cannot be reached: check that kcp runs there, and the server's URL in the kubeconfig: %w", base, err)
	}
	return err
}
