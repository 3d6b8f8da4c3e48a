package env

import (
	"os"
	"path/filepath"
)

// ServerCertificate is a certificate for a server on the loopback interface, in files, and the authority that clients of
// the server have to trust.
type ServerCertificate struct {
	CertFile, KeyFile string
	CA                []byte
	authority         *authority
}

// NewServerCertificate makes one of an authority of its own.
func (e *Env) NewServerCertificate(name string) (*ServerCertificate, error) {
	authority, err := newAuthority(name)
	if err != nil {
		return nil, err
	}
	base := filepath.Join(e.dir, e.unique(name))
	c := &ServerCertificate{CertFile: base + ".crt", KeyFile: base + ".key", CA: authority.certPEM, authority: authority}
	if err := c.Renew(); err != nil {
		return nil, err
	}
	return c, nil
}

// Renew puts another certificate of the same authority into the files.
func (c *ServerCertificate) Renew() error {
	pair, err := c.authority.server()
	if err != nil {
		return err
	}
	return pair.write(c.CertFile, c.KeyFile)
}

// Client issues a certificate for a user, as PEM.
func (c *ServerCertificate) Client(user string, groups ...string) (cert, key []byte, err error) {
	pair, err := c.authority.client(user, groups...)
	return pair.cert, pair.key, err
}

// CAFile writes the authority to a file.
func (c *ServerCertificate) CAFile() (string, error) {
	path := c.CertFile + ".ca"
	return path, os.WriteFile(path, c.CA, 0o644)
}
