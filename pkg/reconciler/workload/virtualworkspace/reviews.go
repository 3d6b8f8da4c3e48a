package virtualworkspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// reviews ask kcp about callers: the TokenReview in the provider's workspace, which knows the ServiceAccounts of all
// workspaces; the SubjectAccessReview and the SyncTarget in the workspace of the SyncTarget. The manager gets there through
// the APIExport of SyncTargets, which claims the reviews, or with rights of its own where it has them.
type reviews struct {
	upstream *upstream
	kcp      string
	provider logicalcluster.Path
	// targets are where the APIExport of SyncTargets is served.
	targets func() []string
}

func (r reviews) authenticate(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	review := authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: token},
	}
	err := r.create(ctx, logicalcluster.Name(r.provider.String()), "/apis/authentication.k8s.io/v1/tokenreviews", &review)
	if err != nil {
		return nil, fmt.Errorf("reviewing a token: %w", err)
	}
	if !review.Status.Authenticated {
		return nil, nil
	}
	return &review.Status.User, nil
}

func (r reviews) maySync(ctx context.Context, user authenticationv1.UserInfo, target TargetRef) (bool, error) {
	review := authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extraOf(user),
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: workloadv1alpha1.GroupName, Version: workloadv1alpha1.SchemeGroupVersion.Version, Resource: "synctargets",
				Name: target.Name, Verb: "sync",
			},
		},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return false, err
	}
	raw, err := r.inWorkspace(ctx, call{
		method: http.MethodPost, cluster: target.Cluster, path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
		contentType: "application/json", body: body,
	})
	if code := codeOf(err); code == http.StatusForbidden || code == http.StatusNotFound {
		return false, nil // kcp answers so for a workspace that does not exist
	}
	if err != nil {
		return false, fmt.Errorf("reviewing access to SyncTarget %s: %w", target, err)
	}
	if err := json.Unmarshal(raw, &review); err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// inWorkspace sends a request to one workspace, by the first way that leads there. Kcp answers 403 where the workspace is
// not bound to the APIExport, or is on another shard.
func (r reviews) inWorkspace(ctx context.Context, c call) (raw []byte, err error) {
	for _, base := range append(slices.Clone(r.targets()), r.kcp) {
		c.base = base
		raw, err = r.upstream.ask(ctx, c)
		if code := codeOf(err); code != http.StatusForbidden && code != http.StatusNotFound {
			return raw, err
		}
		if isGone(err, request{name: c.named, gvr: schema.GroupVersionResource{Resource: "synctargets"}}) {
			return nil, err
		}
	}
	return nil, err
}

// extraOf goes with every review: kcp keeps there what narrows a user's rights.
func extraOf(user authenticationv1.UserInfo) map[string]authorizationv1.ExtraValue {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	return extra
}

func (r reviews) syncTarget(ctx context.Context, target TargetRef) (*workloadv1alpha1.SyncTarget, error) {
	path := "/apis/" + workloadv1alpha1.SchemeGroupVersion.String() + "/synctargets/" + target.Name
	raw, err := r.inWorkspace(ctx, call{method: http.MethodGet, cluster: target.Cluster, path: path, named: target.Name})
	if code := codeOf(err); code == http.StatusNotFound || code == http.StatusForbidden {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading SyncTarget %s: %w", target, err)
	}
	st := &workloadv1alpha1.SyncTarget{}
	return st, json.Unmarshal(raw, st)
}

func (r reviews) create(ctx context.Context, cluster logicalcluster.Name, path string, review any) error {
	body, err := json.Marshal(review)
	if err != nil {
		return err
	}
	raw, err := r.upstream.ask(ctx, call{
		method: http.MethodPost, base: r.kcp, cluster: cluster, path: path, contentType: "application/json", body: body,
	})
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, review)
}

// codeOf is the code of kcp's answer; 0 if it was none, or no failure.
func codeOf(err error) int32 {
	var failure *apierrors.StatusError
	if errors.As(err, &failure) {
		return failure.ErrStatus.Code
	}
	return 0
}
