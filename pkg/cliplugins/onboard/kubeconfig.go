package onboard

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// kubeconfig is the syncer's way to kcp: the workspace's URL, whom to trust, and the token. The same input gives the same bytes.
func kubeconfig(server string, tlsServerName string, authorities []byte, token string) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.CurrentContext = "kcp"
	config.Clusters["kcp"] = &clientcmdapi.Cluster{Server: server, TLSServerName: tlsServerName, CertificateAuthorityData: authorities}
	config.AuthInfos["kcp"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["kcp"] = &clientcmdapi.Context{Cluster: "kcp", AuthInfo: "kcp"}
	return clientcmd.Write(*config)
}

// serverOf is the workspace's URL for the syncer.
func serverOf(kcp *rest.Config, o Options, path logicalcluster.Path) (string, error) {
	host := kcp.Host
	if o.KCPServer != "" {
		host = o.KCPServer
	}
	base, _, err := workspace.Split(host)
	return base + path.RequestPath(), err
}

// authorities are the certificates that the syncer trusts: those of the kubeconfig and those of the files. Naming any replaces
// the system's, so kcp's own must be among them.
func authorities(kcp *rest.Config, o Options) ([]byte, error) {
	if kcp.Insecure {
		return nil, errors.New("the kubeconfig skips the verification of kcp's certificate, which a syncer must not do: name kcp's authority there, or use another --context")
	}
	loaded := rest.CopyConfig(kcp)
	if err := rest.LoadTLSFiles(loaded); err != nil {
		return nil, fmt.Errorf("the certificates in the kubeconfig: %w", err)
	}
	var all bundle
	if err := all.add("the kubeconfig's certificate-authority", loaded.CAData); err != nil {
		return nil, err
	}
	if err := all.addFile("--kcp-ca-file", o.KCPCAFile); err != nil {
		return nil, err
	}
	if len(all) == 0 && o.VirtualWorkspaceCAFile != "" {
		return nil, errors.New("--virtual-workspace-ca-file: the syncer trusts either the authorities that it is given or those of its system, and for kcp the kubeconfig names none: name kcp's too, with --kcp-ca-file")
	}
	if err := all.addFile("--virtual-workspace-ca-file", o.VirtualWorkspaceCAFile); err != nil {
		return nil, err
	}
	return all.pem(), nil
}

// bundle are certificates, each once, in the order in which they were added.
type bundle [][]byte

func (b *bundle) addFile(flag, path string) error {
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return fmt.Errorf("%s: %s is empty", flag, path)
	}
	return b.add(flag, raw)
}

func (b *bundle) add(from string, raw []byte) error {
	for left := bytes.TrimSpace(raw); len(left) > 0; left = bytes.TrimSpace(left) {
		var block *pem.Block
		if block, left = pem.Decode(left); block == nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("%s: not just certificates in PEM form", from)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		b.insert(block.Bytes)
	}
	return nil
}

func (b *bundle) insert(certificate []byte) {
	for _, known := range *b {
		if bytes.Equal(known, certificate) {
			return
		}
	}
	*b = append(*b, certificate)
}

func (b *bundle) pem() []byte {
	var out bytes.Buffer
	for _, certificate := range *b {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: certificate}) // a buffer takes everything
	}
	return out.Bytes()
}
