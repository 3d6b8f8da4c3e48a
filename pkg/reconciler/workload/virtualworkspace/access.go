package virtualworkspace

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"golang.org/x/sync/singleflight"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// How long what kcp said about a caller holds. An open watch is looked at anew every recheckPeriod, so that whatever is
// revoked ends within a minute: at worst grantedFreshness + recheckPeriod later.
const (
	grantedFreshness = 15 * time.Second
	deniedFreshness  = 5 * time.Second
	recheckPeriod    = 20 * time.Second
	// unknownPatience is how long an open watch goes on while kcp does not say.
	unknownPatience = 45 * time.Second
	// reviewTimeout bounds the questions to kcp about one caller.
	reviewTimeout = 10 * time.Second
	// callersKnown bounds the memory for callers; strangers push each other out.
	callersKnown = 8192
	// reviewsAtOnce bounds what strangers can make us ask kcp.
	reviewsAtOnce = 32
)

// reviewer asks kcp. An answer that says no is no error.
type reviewer interface {
	// authenticate says whose token it is; nil if it is nobody's.
	authenticate(ctx context.Context, token string) (*authenticationv1.UserInfo, error)
	// maySync says whether the user may sync that SyncTarget.
	maySync(ctx context.Context, user authenticationv1.UserInfo, target TargetRef) (bool, error)
	// syncTarget reads the SyncTarget; nil if there is none.
	syncTarget(ctx context.Context, target TargetRef) (*workloadv1alpha1.SyncTarget, error)
}

// caller is who sent a request, before anything is known about them.
type caller struct {
	// token is empty for those who came with a certificate.
	token string
	user  authenticationv1.UserInfo
}

// callerOf reads the credentials of a request. Those of a certificate were verified with the handshake.
func callerOf(r *http.Request) (caller, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return caller{}, unauthenticated()
		}
		return caller{token: token}, nil
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return caller{}, unauthenticated()
	}
	subject := r.TLS.VerifiedChains[0][0].Subject
	if subject.CommonName == "" {
		return caller{}, unauthenticated()
	}
	return caller{user: authenticationv1.UserInfo{
		Username: subject.CommonName, Groups: append(slices.Clone(subject.Organization), allAuthenticated),
	}}, nil
}

const (
	allAuthenticated     = "system:authenticated"
	serviceAccountPrefix = "system:serviceaccount:"
)

// accessKey names a caller and what they want; comparable, and without the token itself.
type accessKey struct {
	credentials [sha256.Size]byte
	target      TargetRef
}

func keyOf(c caller, target TargetRef) accessKey {
	text := "token\x00" + c.token
	if c.token == "" {
		text = "certificate\x00" + c.user.Username + "\x00" + strings.Join(c.user.Groups, "\x00")
	}
	return accessKey{credentials: sha256.Sum256([]byte(text)), target: target}
}

// verdict is what kcp says about a caller: either there is an error, or they may sync the target.
type verdict struct {
	user   string
	target *workloadv1alpha1.SyncTarget
	err    error
}

// access decides who may use which target's virtual workspace.
type access struct {
	reviewer reviewer
	clock    clock.WithTicker
	metrics  *Metrics

	verdicts *cache.LRUExpireCache
	asking   singleflight.Group
	places   chan struct{}

	lock     sync.Mutex
	sessions map[accessKey]*session
}

func newAccess(r reviewer, c clock.WithTicker, m *Metrics) *access {
	return &access{
		reviewer: r, clock: c, metrics: m, verdicts: cache.NewLRUExpireCacheWithClock(callersKnown, c),
		places: make(chan struct{}, reviewsAtOnce), sessions: map[accessKey]*session{},
	}
}

// decide gives the verdict, from what is remembered if that is fresh. While kcp does not answer there is none.
func (a *access) decide(ctx context.Context, c caller, target TargetRef) verdict {
	key := keyOf(c, target)
	if v, ok := a.verdicts.Get(key); ok {
		return v.(verdict)
	}
	return a.ask(ctx, key, c)
}

func (a *access) ask(ctx context.Context, key accessKey, c caller) verdict {
	id := string(key.credentials[:]) + key.target.String() + string(key.target.UID)
	answer, _, _ := a.asking.Do(id, func() (any, error) {
		select {
		case a.places <- struct{}{}:
			defer func() { <-a.places }()
		default:
			return verdict{err: tooMany("too many callers are being reviewed", 1)}, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
		defer cancel()
		v := a.review(ctx, c, key.target)
		a.remember(key, v)
		return v, nil
	})
	return answer.(verdict)
}

func (a *access) remember(key accessKey, v verdict) {
	var refused *refusal
	switch {
	case v.err == nil:
		a.verdicts.Add(key, v, grantedFreshness)
	case errors.As(v.err, &refused) && refused.reason != "" && refused.reason != reasonLimit:
		a.verdicts.Add(key, v, deniedFreshness)
	}
}

// review asks kcp everything. Who may not sync the target learns nothing of it, not even whether it exists.
func (a *access) review(ctx context.Context, c caller, target TargetRef) verdict {
	user := c.user
	if c.token != "" {
		found, err := a.reviewer.authenticate(ctx, c.token)
		a.metrics.reviewed("authentication", found != nil, err)
		switch {
		case err != nil:
			return verdict{err: passOn(err)}
		case found == nil:
			return verdict{err: unauthenticated()}
		}
		user = *found
	}
	if strings.HasPrefix(user.Username, serviceAccountPrefix) && !livesIn(user, target) {
		return verdict{user: user.Username, err: mayNotSync()}
	}
	allowed, err := a.reviewer.maySync(ctx, user, target)
	a.metrics.reviewed("authorization", allowed, err)
	switch {
	case err != nil:
		return verdict{user: user.Username, err: passOn(err)}
	case !allowed:
		return verdict{user: user.Username, err: mayNotSync()}
	}
	st, err := a.reviewer.syncTarget(ctx, target)
	a.metrics.reviewed("synctarget", st != nil && st.UID == target.UID, err)
	switch {
	case err != nil:
		return verdict{user: user.Username, err: passOn(err)}
	case st == nil || st.UID != target.UID:
		return verdict{user: user.Username, err: denied(reasonNotAuthorized, "the SyncTarget does not exist, or has another UID: it was deleted and created anew")}
	}
	return verdict{user: user.Username, target: st}
}

// clusterNameExtra is where kcp says which logical cluster a ServiceAccount lives in: those of other workspaces have the
// same names.
const clusterNameExtra = "authentication.kubernetes.io/cluster-name"

func livesIn(user authenticationv1.UserInfo, target TargetRef) bool {
	return slices.Equal(user.Extra[clusterNameExtra], authenticationv1.ExtraValue{string(target.Cluster)})
}

func mayNotSync() error {
	return denied(reasonNotAuthorized, "this user may not use the verb \"sync\" on this SyncTarget")
}

// session is all that one caller has open at a target. It ends when the caller loses the right to it.
type session struct {
	key    accessKey
	caller caller
	ctx    context.Context //nolint:containedctx // its end is what the session is for
	end    context.CancelCauseFunc
	users  int
	// granted is when kcp last said yes, checked when it was last asked.
	granted, checked time.Time
}

// join has the context of a watch end when the caller loses the right to it. The caller has just been let in.
func (a *access) join(ctx context.Context, c caller, target TargetRef) (_ context.Context, leave func()) {
	key := keyOf(c, target)
	a.lock.Lock()
	defer a.lock.Unlock()
	s := a.sessions[key]
	if s == nil {
		s = &session{key: key, caller: c, granted: a.clock.Now(), checked: a.clock.Now()}
		s.ctx, s.end = context.WithCancelCause(context.Background())
		a.sessions[key] = s
	}
	s.users++
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
		a.lock.Lock()
		defer a.lock.Unlock()
		s.users--
		if s.users == 0 {
			s.end(nil)
			if a.sessions[key] == s {
				delete(a.sessions, key)
			}
		}
	}
}

// run looks at the sessions again and again until ctx is done.
func (a *access) run(ctx context.Context) { every(ctx, a.clock, recheckPeriod/4, a.recheck) }

func (a *access) recheck(ctx context.Context) {
	var checking sync.WaitGroup
	places := make(chan struct{}, reviewsAtOnce/2)
	for _, s := range a.due() {
		places <- struct{}{}
		checking.Go(func() {
			defer func() { <-places }()
			a.recheckOne(ctx, s)
		})
	}
	checking.Wait()
}

func (a *access) due() []*session {
	a.lock.Lock()
	defer a.lock.Unlock()
	var due []*session
	for _, s := range a.sessions {
		if a.clock.Since(s.checked) >= recheckPeriod {
			due = append(due, s)
		}
	}
	return due
}

func (a *access) recheckOne(ctx context.Context, s *session) {
	v := a.ask(ctx, s.key, s.caller)
	now := a.clock.Now()
	a.lock.Lock()
	defer a.lock.Unlock()
	s.checked = now
	if v.err == nil {
		s.granted = now
		return
	}
	status, why := statusOf(v.err)
	if (why == "" || why == reasonLimit) && now.Sub(s.granted) < unknownPatience {
		return // kcp does not say
	}
	klog.FromContext(ctx).Info("Ending the watches of a caller who lost the right to them", "user", v.user, "syncTarget", s.key.target.String(), "why", status.Message)
	s.end(v.err)
	delete(a.sessions, s.key) // those who come anew are judged anew
}
