package env

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
)

// Kubeconfig writes a kubeconfig file with a single context, called "default", into the directory of the Env.
func (e *Env) Kubeconfig(config *rest.Config) (string, error) {
	path := filepath.Join(e.dir, e.unique("kubeconfig")+".yaml")
	return path, WriteKubeconfig(path, "default", map[string]*rest.Config{"default": config})
}

// WriteKubeconfig writes a kubeconfig file with one context per config, called like its key. current is the current context.
func WriteKubeconfig(path, current string, contexts map[string]*rest.Config) error {
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.CurrentContext = current
	for name, config := range contexts {
		cluster, user, err := kubeconfigEntries(config)
		if err != nil {
			return fmt.Errorf("writing %s: context %s: %w", path, name, err)
		}
		kubeconfig.Clusters[name] = cluster
		kubeconfig.AuthInfos[name] = user
		kubeconfig.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	}
	return clientcmd.WriteToFile(*kubeconfig, path)
}

func kubeconfigEntries(config *rest.Config) (*clientcmdapi.Cluster, *clientcmdapi.AuthInfo, error) {
	cluster := &clientcmdapi.Cluster{
		Server:                   config.Host,
		TLSServerName:            config.ServerName,
		CertificateAuthority:     config.CAFile,
		CertificateAuthorityData: config.CAData,
	}
	if config.Proxy != nil {
		proxy, err := config.Proxy(&http.Request{})
		if err != nil {
			return nil, nil, err
		}
		cluster.ProxyURL = proxy.String()
	}
	return cluster, &clientcmdapi.AuthInfo{
		Token:                 config.BearerToken,
		TokenFile:             config.BearerTokenFile,
		ClientCertificate:     config.CertFile,
		ClientCertificateData: config.CertData,
		ClientKey:             config.KeyFile,
		ClientKeyData:         config.KeyData,
	}, nil
}

// ServiceAccount describes a ServiceAccount that may do what its rules say, and no more, in all namespaces.
type ServiceAccount struct {
	// Namespace is made if it does not exist.
	Namespace string
	Name      string
	Rules     []rbacv1.PolicyRule
}

// CreateServiceAccount makes a ServiceAccount with a ClusterRole and a ClusterRoleBinding called "<namespace>:<name>" in the
// cluster or workspace that admin points to, and returns a config with its token, at the same URL. An account that exists is
// given the new rules. It returns when the rules have come into force.
func CreateServiceAccount(ctx context.Context, admin *rest.Config, account ServiceAccount) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	wrap := func(err error) error {
		return fmt.Errorf("creating ServiceAccount %s/%s at %s: %w", account.Namespace, account.Name, admin.Host, err)
	}
	if err := createAccount(ctx, client, account); err != nil {
		return nil, wrap(err)
	}
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}
	if err := grantRules(ctx, client, account.Namespace+":"+account.Name, account.Rules, subject); err != nil {
		return nil, wrap(err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 60 * 60)}}
	token, err := client.CoreV1().ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, wrap(err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.Proxy = admin.Proxy
	config.BearerToken = token.Status.Token
	if err := awaitRules(ctx, config, account.Rules); err != nil {
		return nil, wrap(err)
	}
	return config, nil
}

func createAccount(ctx context.Context, client kubernetes.Interface, account ServiceAccount) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: account.Namespace}}
	_, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	object := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account.Name}}
	_, err = client.CoreV1().ServiceAccounts(account.Namespace).Create(ctx, object, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// grantRules makes a ClusterRole and a ClusterRoleBinding of that name. A role that exists gets the new rules.
func grantRules(ctx context.Context, client kubernetes.Interface, name string, rules []rbacv1.PolicyRule, subject rbacv1.Subject) error {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	_, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{subject},
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// awaitRules waits until the server's authorizer has seen the rules.
func awaitRules(ctx context.Context, config *rest.Config, rules []rbacv1.PolicyRule) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: oneAccessOf(rule)}
		err := Poll(ctx, func(ctx context.Context) error {
			answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			if !answer.Status.Allowed {
				return fmt.Errorf("not yet allowed: %s", rule.String())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// oneAccessOf is one thing that a rule allows.
func oneAccessOf(rule rbacv1.PolicyRule) authorizationv1.SelfSubjectAccessReviewSpec {
	first := func(values []string) string {
		if len(values) == 0 {
			return ""
		}
		return values[0]
	}
	if len(rule.NonResourceURLs) > 0 {
		return authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{
			Path: first(rule.NonResourceURLs), Verb: first(rule.Verbs),
		}}
	}
	return authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Group: first(rule.APIGroups), Resource: first(rule.Resources), Name: first(rule.ResourceNames), Verb: first(rule.Verbs),
	}}
}
