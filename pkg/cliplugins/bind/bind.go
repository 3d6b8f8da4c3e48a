// Package bind makes the APIs of another workspace's APIExports available in a workspace.
package bind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	conditionsv1alpha1 "github.com/kcp-dev/sdk/apis/third_party/conditions/apis/conditions/v1alpha1"
	kcpclientset "github.com/kcp-dev/sdk/client/clientset/versioned"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// Bind binds the exports of the workspace at provider in the workspace at consumer, accepts the permissions that they
// claim, and waits until both have come into force. It writes to out what it did. Done again, it changes nothing, and
// accepts permissions that an export has begun to claim since; what a user rejected stays rejected.
func Bind(ctx context.Context, kcp *rest.Config, consumer, provider logicalcluster.Path, exports []string, out io.Writer) error {
	scoped, err := workspace.Config(kcp, consumer)
	if err != nil {
		return err
	}
	client, err := kcpclientset.NewForConfig(scoped)
	if err != nil {
		return err
	}
	var bindings []*binding
	for _, export := range exports {
		bindings = append(bindings, &binding{client: client, provider: provider, export: export, out: out})
	}
	// All are created before any is waited for: kcp works on them side by side.
	for _, take := range []func(*binding, context.Context) error{(*binding).create, (*binding).settle} {
		for _, b := range bindings {
			if err := take(b, ctx); err != nil {
				return fmt.Errorf("binding APIExport %s of %s in workspace %s: %w", b.export, provider, consumer, explain(err, kcp.Host, consumer))
			}
		}
	}
	return nil
}

// explain adds to workspace.Explain what only a binding can meet.
func explain(err error, host string, consumer logicalcluster.Path) error {
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "no permission to bind") {
		return fmt.Errorf("check that the provider has this APIExport, and that its RBAC grants you the verb \"bind\" on it: %w", err)
	}
	return workspace.Explain(err, host, consumer)
}

// binding is the APIBinding of one export, which is called like it.
type binding struct {
	client   kcpclientset.Interface
	provider logicalcluster.Path
	export   string
	out      io.Writer

	// created tells settle that create did not find it there.
	created bool
}

// settle waits until the APIs are served and the permissions are in force.
func (b *binding) settle(ctx context.Context) error {
	current, err := b.await(ctx, bound)
	if err != nil {
		return err
	}
	accepted, err := b.accept(ctx)
	if err != nil {
		return err
	}
	if len(current.Status.ExportPermissionClaims) > 0 {
		if _, err := b.await(ctx, claimsApplied); err != nil {
			return err
		}
	}
	b.tell(accepted)
	return nil
}

func (b *binding) create(ctx context.Context) error {
	bindings := b.client.ApisV1alpha2().APIBindings()
	wanted := apisv1alpha2.ExportBindingReference{Path: b.provider.String(), Name: b.export}
	existing, err := bindings.Get(ctx, b.export, metav1.GetOptions{})
	if err == nil {
		return b.checkReference(existing.Spec.Reference.Export, wanted)
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	_, err = bindings.Create(ctx, &apisv1alpha2.APIBinding{
		ObjectMeta: metav1.ObjectMeta{Name: b.export},
		Spec:       apisv1alpha2.APIBindingSpec{Reference: apisv1alpha2.BindingReference{Export: &wanted}},
	}, metav1.CreateOptions{})
	b.created = err == nil
	return err
}

// checkReference compares what a binding of our name, which another may have made, is bound to. That cannot be changed.
func (b *binding) checkReference(got *apisv1alpha2.ExportBindingReference, wanted apisv1alpha2.ExportBindingReference) error {
	if got != nil && *got == wanted {
		return nil
	}
	if got == nil {
		got = &apisv1alpha2.ExportBindingReference{}
	}
	return fmt.Errorf("there is an APIBinding %s already, to export %q of workspace %q: delete it first", b.export, got.Name, got.Path)
}

// accept takes the claims that kcp read from the export and that nobody decided on yet.
func (b *binding) accept(ctx context.Context) (accepted []apisv1alpha2.PermissionClaim, err error) {
	bindings := b.client.ApisV1alpha2().APIBindings()
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		current, err := bindings.Get(ctx, b.export, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if accepted = undecided(current); len(accepted) == 0 {
			return nil
		}
		for _, claim := range accepted {
			current.Spec.PermissionClaims = append(current.Spec.PermissionClaims, acceptance(claim))
		}
		_, err = bindings.Update(ctx, current, metav1.UpdateOptions{})
		return err
	})
	return accepted, err
}

func undecided(current *apisv1alpha2.APIBinding) (claims []apisv1alpha2.PermissionClaim) {
next:
	for _, claim := range current.Status.ExportPermissionClaims {
		for _, decided := range current.Spec.PermissionClaims {
			if decided.EqualGRI(claim) {
				continue next
			}
		}
		claims = append(claims, claim)
	}
	return claims
}

func acceptance(claim apisv1alpha2.PermissionClaim) apisv1alpha2.AcceptablePermissionClaim {
	return apisv1alpha2.AcceptablePermissionClaim{
		ScopedPermissionClaim: apisv1alpha2.ScopedPermissionClaim{
			PermissionClaim: claim,
			Selector:        apisv1alpha2.PermissionClaimSelector{MatchAll: true},
		},
		State: apisv1alpha2.ClaimAccepted,
	}
}

func (b *binding) await(ctx context.Context, reached func(*apisv1alpha2.APIBinding) error) (current *apisv1alpha2.APIBinding, err error) {
	err = workspace.Poll(ctx, func(ctx context.Context) (bool, error) {
		got, err := b.client.ApisV1alpha2().APIBindings().Get(ctx, b.export, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		current = got
		err = reached(got)
		return err == nil, err
	})
	return current, err
}

// bound tells what keeps the APIs from being served.
func bound(current *apisv1alpha2.APIBinding) error {
	if current.Status.Phase == apisv1alpha2.APIBindingPhaseBound {
		return nil
	}
	for _, condition := range current.Status.Conditions {
		if condition.Status == corev1.ConditionFalse && condition.Type != conditionsv1alpha1.ReadyCondition {
			return fmt.Errorf("condition %s: %s: %s", condition.Type, condition.Reason, condition.Message)
		}
	}
	return errors.New("kcp has not bound it yet")
}

// claimsApplied tells what keeps the provider from using the accepted permissions.
func claimsApplied(current *apisv1alpha2.APIBinding) error {
	accepted := 0
	for _, claim := range current.Spec.PermissionClaims {
		if claim.State == apisv1alpha2.ClaimAccepted {
			accepted++
		}
	}
	if len(current.Status.AppliedPermissionClaims) < accepted {
		return fmt.Errorf("%d of %d accepted permission claims are applied", len(current.Status.AppliedPermissionClaims), accepted)
	}
	return nil
}

func (b *binding) tell(accepted []apisv1alpha2.PermissionClaim) {
	outcome := "unchanged"
	switch {
	case b.created:
		outcome = "created"
	case len(accepted) > 0:
		outcome = "updated"
	}
	_, _ = fmt.Fprintf(b.out, "%-9s  APIBinding %s to %s\n", outcome, b.export, b.provider)
	for _, claim := range accepted {
		_, _ = fmt.Fprintf(b.out, "           accepted: the provider may %s %s\n", strings.Join(claim.Verbs, ", "), claim)
	}
}
