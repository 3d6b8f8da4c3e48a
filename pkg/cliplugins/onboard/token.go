package onboard

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/apply"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// The syncer's token is that of a Secret: nobody is in its cluster who could renew one that expires, and the same one has to be
// found again when the command is run again. It is rotated by a second Secret beside the first; the syncer takes the new
// kubeconfig up without a restart, and deleting the old Secret revokes the old token.

// placeholder stands for the token in a dry run.
const placeholder = "<token>"

// ensureToken gives the newest of the ServiceAccount's tokens, and makes one if there is none or a new one is asked for.
func (s *session) ensureToken(ctx context.Context) (string, error) {
	secrets := s.client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(s.options.KCPNamespace)
	list, err := secrets.List(ctx, metav1.ListOptions{LabelSelector: labels.Set(selectorOf(s.name)).String()})
	if err != nil {
		return "", err
	}
	newest, older := newestOf(s.name, list.Items)
	name, outcome := tokenName(s.name, newest), apply.Unchanged
	if newest == 0 || s.options.RotateToken {
		name, outcome = tokenName(s.name, newest+1), apply.Created
	}
	if s.options.DryRun {
		s.run.Note("Secret", s.options.KCPNamespace+"/"+name, outcome)
		return placeholder, nil
	}
	if outcome == apply.Created {
		secret, err := written(&corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.options.KCPNamespace, Name: name, Labels: labelsOf(s.name),
				Annotations: map[string]string{corev1.ServiceAccountNameKey: s.name},
			},
			Type: corev1.SecretTypeServiceAccountToken,
		})
		if err != nil {
			return "", err
		}
		if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: apply.FieldManager}); err != nil {
			return "", fmt.Errorf("creating Secret %s: %w", name, err)
		}
		if newest > 0 {
			older = append(older, tokenName(s.name, newest))
		}
	}
	s.run.Note("Secret", s.options.KCPNamespace+"/"+name, outcome)
	s.tellOlder(older)
	return s.awaitToken(ctx, name)
}

// awaitToken waits until kcp has put the token into the Secret.
func (s *session) awaitToken(ctx context.Context, name string) (token string, err error) {
	secrets := s.client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(s.options.KCPNamespace)
	err = workspace.Poll(ctx, func(ctx context.Context) (bool, error) {
		secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		encoded, _, _ := unstructured.NestedString(secret.Object, "data", corev1.ServiceAccountTokenKey)
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(raw) == 0 {
			return false, errors.New("kcp has put no token into it yet")
		}
		token = string(raw)
		return true, nil
	})
	if err != nil {
		return "", fmt.Errorf("waiting for the token in Secret %s/%s: %w", s.options.KCPNamespace, name, err)
	}
	return token, nil
}

func (s *session) tellOlder(older []string) {
	if len(older) == 0 {
		return
	}
	_, _ = fmt.Fprintf(s.out, "\nOlder tokens are still valid. Once the manifest with the new one is applied, revoke them in workspace %s:\n  kubectl -n %s delete secret %s\n\n",
		s.path, s.options.KCPNamespace, strings.Join(older, " "))
}

// tokenName is that of the nth token's Secret, counted from 1.
func tokenName(name string, n int) string {
	if n <= 1 {
		return name + "-token"
	}
	return fmt.Sprintf("%s-token-%d", name, n)
}

// newestOf finds the token with the highest number, 0 if there is none, and names all others.
func newestOf(name string, secrets []unstructured.Unstructured) (newest int, older []string) {
	numbers := map[int]bool{}
	for i := range secrets {
		suffix, ours := strings.CutPrefix(secrets[i].GetName(), name+"-token")
		n, err := strconv.Atoi(strings.TrimPrefix(suffix, "-"))
		switch {
		case !ours || secrets[i].GetDeletionTimestamp() != nil:
			continue
		case suffix == "":
			n = 1
		case err != nil:
			continue
		}
		numbers[n] = true
		newest = max(newest, n)
	}
	for n := 1; n < newest; n++ {
		if numbers[n] {
			older = append(older, tokenName(name, n))
		}
	}
	return newest, older
}
