package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/test/env"
)

func rule(group, resources string, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Split(resources, ","), Verbs: strings.Split(verbs, ",")}
}

// clusterRules are what a syncer of some core resources needs in the physical cluster.
func clusterRules(resources string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("", "namespaces", "get,list,watch,create,patch,delete"),
		rule("", "nodes", "list,watch"),
		rule("apiextensions.k8s.io", "customresourcedefinitions", "list,watch"),
		rule("", resources, "get,list,watch,create,patch,delete"),
	}
}

// kcpRules are what a syncer of some core resources needs in its workspace.
func kcpRules(resources string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("workload.kcp.io", "synctargets", "get,list,watch"),
		rule("workload.kcp.io", "synctargets/status", "patch"),
		rule("apis.kcp.io", "apibindings", "list,watch"),
		rule("apiextensions.k8s.io", "customresourcedefinitions", "list,watch"),
		rule("", "events", "create"),
		rule("", resources, "get,list,watch,patch"),
	}
}

// account makes or changes the tenant's own ServiceAccount in the physical cluster.
func (tn *tenant) clusterAccount(rules []rbacv1.PolicyRule) *rest.Config {
	tn.t.Helper()
	return must(tn.cluster.ServiceAccount(tn.t.Context(), env.ServiceAccount{Namespace: "syncers", Name: tn.ws.Path.Base(), Rules: rules}))(tn.t)
}

// kcpAccount makes or changes a ServiceAccount in the tenant's workspace. Its host has no workspace, as syncers expect.
func (tn *tenant) kcpAccount(rules []rbacv1.PolicyRule) *rest.Config {
	tn.t.Helper()
	account := must(tn.fleet.kcp.ServiceAccount(tn.t.Context(), tn.ws.Path, env.ServiceAccount{Namespace: "default", Name: "syncer", Rules: rules}))(tn.t)
	account.Host = tn.fleet.kcp.AdminConfig().Host
	return account
}

const onlyCore = "--resource-filters=configmaps,secrets"

// A type that may not be listed on one side is degraded alone and named; it is synced as soon as the permission comes.
func TestA02ForbiddenTypeIsDegradedAlone(t *testing.T) {
	t.Parallel()
	for _, side := range []struct {
		name, says string
		start      func(*tenant) syncerOptions
		allow      func(*tenant)
	}{
		{
			"in the physical cluster", "physical cluster",
			func(tn *tenant) syncerOptions {
				noNodes := slices.DeleteFunc(clusterRules("configmaps"), func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "nodes") })
				return syncerOptions{cluster: tn.clusterAccount(noNodes)}
			},
			func(tn *tenant) { tn.clusterAccount(clusterRules("configmaps,secrets")) },
		},
		{
			"in kcp", "kcp",
			func(tn *tenant) syncerOptions { return syncerOptions{kcp: tn.kcpAccount(kcpRules("configmaps"))} },
			func(tn *tenant) { tn.kcpAccount(kcpRules("configmaps,secrets")) },
		},
	} {
		t.Run(side.name, func(t *testing.T) {
			t.Parallel()
			tn := newTenant(t)
			options := side.start(tn)
			options.flags = []string{onlyCore}
			s := tn.startSyncerWith(options) // and it is ready
			tn.up.Create(`{apiVersion: v1, kind: Secret, metadata: {name: late, namespace: web}}`)
			tn.putConfigMap("early")
			tn.awaitTarget(all(
				condition("APIsReady", "False", "APIsForbidden", "secrets", "list", side.says),
				condition("Ready", "False", "APIsForbidden", "secrets"),
				condition("SyncerReady", "True", "SyncerRunning"),
				resourceState("secrets", "Degraded"), resourceState("configmaps", "Accepted"),
			))
			s.awaitMetric(exactly(1), "workload_syncer_resource_types", "state=Degraded")
			s.awaitMetric(exactly(1), "workload_component_health", "component=type/secrets")
			if code, body := s.Ask("health", "/readyz?verbose"); code != http.StatusOK || !strings.Contains(body, "[!]type/secrets degraded: listing and watching in ") || !strings.Contains(body, side.says) {
				t.Errorf("a degraded type fails the probe, or is not told: %d %s", code, body)
			}
			if side.says == "physical cluster" { // nor may it list nodes
				tn.awaitTarget(condition("ComponentsHealthy", "False", "ComponentsDegraded", "capacity: the nodes have not been listed", "grant list and watch on nodes"))
			}

			side.allow(tn)
			tn.copyOf("Secret", "late", nil)
			tn.awaitTarget(all(condition("APIsReady", "True", "APIsSynced"), condition("Ready", "True", "Syncing"), condition("ComponentsHealthy", "True", "ComponentsRunning")))
			s.awaitMetric(exactly(0), "workload_component_health")
		})
	}
}

// resourceState checks what a SyncTarget says of a resource.
func resourceState(resource, state string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		resources, _, _ := unstructured.NestedSlice(u.Object, "status", "syncedResources")
		for _, r := range resources {
			if r := r.(map[string]any); r["resource"] == resource && r["state"] == state {
				return nil
			}
		}
		return fmt.Errorf("%s are not %s in %v", resource, state, resources)
	}
}

// content are copies that must not be harmed.
func (tn *tenant) content() (copies []*unstructured.Unstructured) {
	tn.t.Helper()
	tn.up.Create(deployment("web", "front", 1))
	copies = append(copies, tn.putConfigMap("settings"), tn.copyOf("apps/v1 Deployment", "front", has(1, "status", "availableReplicas")))
	return append(copies, tn.down.MustGet("Namespace", "", tn.downNamespace("web")))
}

func (tn *tenant) allUnharmed(copies []*unstructured.Unstructured) func() error {
	return func() error {
		for _, u := range copies {
			if err := tn.down.unharmed(u); err != nil {
				return err
			}
		}
		return nil
	}
}

// hasty syncers delete as soon as they believe that they may.
var hasty = []string{"--orphan-grace-period=0s", "--namespace-clean-delay=0s", "--resync-period=1s"}

// What cannot be read is not gone: nothing is deleted when kcp refuses, hides or empties what it showed before, neither at
// the start nor at work.
func TestA33WhatCannotBeReadIsNotGone(t *testing.T) {
	t.Parallel()
	const notFound, forbidden = metav1.StatusReasonNotFound, metav1.StatusReasonForbidden
	notTheTarget := but(everything, "/synctargets")
	for _, tc := range []struct {
		name  string
		fault env.Fault
	}{
		{"everything is forbidden", refuse(http.StatusForbidden, forbidden, everything)},
		{"the workspace is not found", refuse(http.StatusNotFound, notFound, everything)},
		{"all but the SyncTarget is forbidden", refuse(http.StatusForbidden, forbidden, notTheTarget)},
		{"all but the SyncTarget is not found", refuse(http.StatusNotFound, notFound, notTheTarget)},
		{"lists are forbidden", refuse(http.StatusForbidden, forbidden, lists("configmaps", "deployments"))},
		{"lists are not found", refuse(http.StatusNotFound, notFound, lists("configmaps", "deployments"))},
		{"lists are empty", emptyList(lists("configmaps", "deployments"))},
		{"credentials are refused", refuse(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, everything)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tn := newTenant(t)
			kcp := faulty(t, tn.fleet.kcp.AdminConfig())
			options := syncerOptions{kcp: kcp.Config(), flags: hasty, mayFail: true}
			s := tn.startSyncerWith(options)
			s.AwaitReady()
			copies := tn.content()
			kept := tn.allUnharmed(copies)

			kcp.Break(tc.fault)
			eventually(t, met(4, kcp))
			remains(t, 3*time.Second, kept)
			s.Terminate() // or it has ended by itself
			tn.startSyncerWith(options)
			eventually(t, met(5, kcp))
			remains(t, 3*time.Second, kept)

			kcp.Break(nil)
			tn.startSyncer(hasty...)
			tn.up.Merge("ConfigMap", "web", "settings", `data: {mode: faster}`)
			tn.copyOf("ConfigMap", "settings", has("faster", "data", "mode"))
			if err := kept(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Nothing is deleted while the link is cut at the start, when a user's rights are revoked, or when the type is unbound.
func TestA33RealCausesDeleteNothing(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	l := tn.newLinks()
	l.kcp.Cut()
	first := tn.startSyncer(hasty...)
	copies := tn.content()
	kept := tn.allUnharmed(copies)
	first.Terminate()

	cut := tn.startSyncerWith(tn.through(l, hasty...))
	cut.says("connection refused")
	remains(t, 3*time.Second, kept)
	cut.stopsQuickly()
	if err := l.kcp.Restore(); err != nil {
		t.Fatal(err)
	}

	options := syncerOptions{kcp: l.kcp.Config(tn.kcpAccount(kcpRules("configmaps"))), flags: append(hasty, onlyCore)}
	revoked := tn.startSyncerWith(options)
	revoked.allSynced(1)
	tn.kcpAccount(nil)
	l.kcp.Cut() // watches go on without the right to
	if err := l.kcp.Restore(); err != nil {
		t.Fatal(err)
	}
	revoked.says("forbidden")
	remains(t, 3*time.Second, kept)
	revoked.Terminate()

	unbound := tn.startSyncer(append(hasty, "--resource-filters=configmaps")...)
	tn.up.Delete("apps/v1 Deployment", "web", "front") // kcp would delete it with its type
	tn.up.Merge("apps/v1 Deployment", "web", "front", `metadata: {finalizers: null}`)
	tn.up.Delete(apisGroup+" APIBinding", "", config.KubernetesExport)
	tn.awaitTarget(condition("APIsReady", "False", "APIExportMissing", "kubectl workload bind"))
	remains(t, 3*time.Second, kept)
	unbound.Terminate()
}

// Errors that pass delete nothing and stop nothing: what is to be done is done when they are over, or in between.
func TestA34PassingErrorsDeleteNothing(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	copies := tn.content()
	tn.putConfigMap("edited")
	tn.putConfigMap("deleted")
	tn.up.Eventually("ConfigMap", "web", "deleted", tn.claimed)
	s.Terminate()
	tn.up.Delete("ConfigMap", "web", "deleted")
	tn.up.Create(fastConfigMap("created"))

	// A 403 or 404 for the SyncTarget itself, or for the namespace that identifies the cluster, is an answer and ends a syncer.
	content := but(everything, "/synctargets", "/kube-system")
	errors := nowAndThen(
		refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError, everything),
		refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, everything),
		refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, everything),
		refuse(http.StatusGatewayTimeout, metav1.StatusReasonTimeout, everything),
		refuse(http.StatusNotFound, metav1.StatusReasonNotFound, content),
		refuse(http.StatusForbidden, metav1.StatusReasonForbidden, content),
	)
	kcp, cluster := faulty(t, tn.fleet.kcp.AdminConfig()), faulty(t, tn.cluster.AdminConfig())
	kcp.Break(errors)
	cluster.Break(errors)
	s = tn.startSyncerWith(syncerOptions{kcp: kcp.Config(), cluster: cluster.Config(), flags: hasty, mayFail: true})
	configMaps, n := tn.up.Of("ConfigMap", "web"), 0
	stop := repeat(t, func() error { // gives it something to do
		n++
		_, err := configMaps.Patch(t.Context(), "edited", types.MergePatchType, fmt.Appendf(nil, `{"data":{"mode":"%d"}}`, n), metav1.PatchOptions{})
		<-time.After(100 * time.Millisecond)
		return err
	})
	env.Eventually(t, 2*soon, met(8, kcp))
	env.Eventually(t, 2*soon, met(8, cluster))
	stop()
	remains(t, 3*time.Second, tn.allUnharmed(copies))

	kcp.Break(nil)
	cluster.Break(nil)
	tn.up.Merge("ConfigMap", "web", "edited", `data: {mode: faster}`)
	tn.copyOf("ConfigMap", "edited", has("faster", "data", "mode"))
	tn.copyOf("ConfigMap", "created", has("fast", "data", "mode"))
	tn.up.EventuallyGone("ConfigMap", "web", "deleted")
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "deleted")
	if err := tn.allUnharmed(copies)(); err != nil {
		t.Error(err)
	}
	tn.awaitTarget(condition("Ready", "True", "Syncing"))
	s.AwaitReady()
}

// patchStatus plays another syncer: it writes the SyncTarget's status.
func (tn *tenant) patchStatus(status string) {
	tn.t.Helper()
	tn.up.Merge(syncTargetKind, "", tn.target.Name, "status: "+status, "status")
}

// beat plays a living syncer of another cluster, whose clock is off by so much.
func (tn *tenant) beat(skew time.Duration) (stop func()) {
	client := tn.up.Of(syncTargetKind, "")
	return repeat(tn.t, func() error {
		<-time.After(time.Second)
		patch := fmt.Sprintf(`{"status":{"syncerIdentifier":"another","lastSyncerHeartbeatTime":%q}}`, time.Now().Add(skew).UTC().Format(time.RFC3339))
		_, err := client.Patch(tn.t.Context(), tn.target.Name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}, "status")
		return err
	})
}

// Whether another syncer lives shows in heartbeats that change, not in what its clock says.
func TestA40AnotherSyncerIsJudgedByChangeNotByItsClock(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	for _, skew := range []time.Duration{-5 * time.Hour, 5 * time.Hour} {
		stop := tn.beat(skew)
		tn.awaitTarget(has("another", "status", "syncerIdentifier"))
		s := tn.startSyncerWith(syncerOptions{mayFail: true})
		if code := s.ExitCode(); code != 1 || !strings.Contains(s.Output(), `"another\", which is alive`) {
			t.Errorf("with a heartbeat off by %s: exit code %d:\n%s", skew, code, s.Tail(3))
		}
		stop()
	}
	s := tn.startSyncer("--heartbeat-period=1s") // the dead one's heartbeat is hours ahead
	s.says("Watching whether another syncer is alive")
	tn.putConfigMap("settings")
}

// A syncer that stops says so on its SyncTarget, and takes it back when it starts.
func TestA41SyncerThatStopsSaysSo(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	tn.awaitTarget(all(condition("Ready", "True", "Syncing"), condition("HeartbeatHealthy", "True", "HeartbeatRecent")))
	s.Terminate()
	tn.awaitTarget(all(condition("Ready", "False", "SyncerStopped"), condition("SyncerReady", "False", "SyncerStopped")))
	tn.startSyncer()
	tn.awaitTarget(condition("Ready", "True", "Syncing"))
}

// A new token in the file is taken up without a restart.
func TestA43RotatedTokenIsTakenUp(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	account := tn.clusterAccount(clusterRules("configmaps,secrets"))
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(account.BearerToken)
	fromFile := rest.CopyConfig(account)
	fromFile.BearerToken, fromFile.BearerTokenFile = "", file
	l := must(tn.cluster.NewLink())(t)
	tn.startSyncerWith(syncerOptions{cluster: l.Config(fromFile), flags: []string{onlyCore}})
	tn.putConfigMap("before")

	tn.down.Delete("ServiceAccount", "syncers", tn.ws.Path.Base()) // and with it the old token
	old := newSide(t, account)
	eventually(t, func() error {
		_, err := old.Typed.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("the old token is still good: %w", err)
		}
		return nil
	})
	l.Cut() // watches go on without a valid token
	if err := l.Restore(); err != nil {
		t.Fatal(err)
	}
	tn.awaitTarget(all(condition("SyncerReady", "False", "CredentialsRejected", "physical cluster"), condition("Ready", "False", "CredentialsRejected")))
	write(tn.clusterAccount(clusterRules("configmaps,secrets")).BearerToken)
	tn.up.Create(fastConfigMap("after"))
	env.Eventually(t, 3*soon, func() error { // client-go reads the file once a minute
		_, err := tn.down.Get("ConfigMap", tn.downNamespace("web"), "after")
		return err
	})
	tn.awaitTarget(condition("Ready", "True", "Syncing"))
}

// refuses starts a syncer that must not get to work, and gives what it said.
func (tn *tenant) refuses(o syncerOptions, words ...string) {
	tn.t.Helper()
	o.mayFail = true
	s := tn.startSyncerWith(o)
	if code := s.ExitCode(); code != 1 {
		tn.t.Errorf("exit code %d", code)
	}
	for _, word := range words {
		if !strings.Contains(s.Output(), word) {
			tn.t.Errorf("%q is not said:\n%s", word, s.Tail(5))
		}
	}
}

// A syncer with the wrong UID is refused, and nothing is synced.
func TestA44WrongUIDIsRefused(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.up.Create(fastConfigMap("settings"))
	tn.refuses(syncerOptions{flags: []string{"--sync-target-uid=not-this-one"}}, "not-this-one", string(tn.target.UID), "--sync-target-uid")
	if _, err := tn.down.Get("Namespace", "", tn.downNamespace("web")); err == nil {
		t.Error("something was synced")
	}
	tn.startSyncer("--sync-target-uid=" + string(tn.target.UID))
	tn.copyOf("ConfigMap", "settings", nil)
}

// A second cluster is refused the SyncTarget while the first one's syncer lives, and gets it when that has stopped.
func TestA44SecondClusterIsRefused(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	first := tn.startSyncer("--heartbeat-period=2s")
	tn.putConfigMap("settings")
	west := must(tn.fleet.env.StartCluster(t.Context(), "west", env.WithNodes(1)))(t)
	t.Cleanup(west.Kill)

	tn.refuses(syncerOptions{cluster: west.AdminConfig()}, "is served by another cluster's syncer", "which is alive", "Give each cluster a SyncTarget of its own")
	there := newSide(t, west.AdminConfig())
	if _, err := there.Get("Namespace", "", tn.downNamespace("web")); err == nil {
		t.Error("something was synced to the second cluster")
	}
	tn.putConfigMap("more") // the first goes on
	first.Terminate()
	tn.startSyncerWith(syncerOptions{cluster: west.AdminConfig()})
	there.Eventually("ConfigMap", tn.downNamespace("web"), "settings", nil)
}

// A second SyncTarget of the workspace is refused the same objects.
func TestA44SecondSyncTargetOfAWorkspaceIsRefused(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.ws.NewTarget("second", clusterName, "", "")
	tn.startSyncer("--heartbeat-period=2s")
	tn.refuses(syncerOptions{target: "second"}, "already claims all objects of workspace", "--feed=assigned")
}

// Probes tell the truth: unready within the freshness when a server is gone, naming it; live all the time; ready again.
func TestA50ProbesTellTheTruth(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		hurt   func(links)
		failed []string
		within time.Duration
	}{
		{"both cut", func(l links) { l.kcp.Cut(); l.cluster.Cut() }, []string{"[-]kcp", "[-]cluster"}, 10 * time.Second},
		{"both hanging", func(l links) { l.kcp.Hang(); l.cluster.Hang() }, []string{"[-]kcp", "[-]cluster"}, 45 * time.Second},
		{"kcp cut", func(l links) { l.kcp.Cut() }, []string{"[-]kcp", "[+]cluster"}, 10 * time.Second},
		{"the cluster cut", func(l links) { l.cluster.Cut() }, []string{"[+]kcp", "[-]cluster"}, 10 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tn := newTenant(t)
			l := tn.newLinks()
			s := tn.startSyncerWith(tn.through(l, onlyCore))
			s.AwaitReady()
			tc.hurt(l)
			env.Eventually(t, tc.within, func() error { return s.unready(tc.failed...) })
			remains(t, 5*time.Second, s.live)
			if err := s.unready(tc.failed...); err != nil {
				t.Errorf("unready no more: %v", err)
			}
			for _, link := range []*env.Link{l.kcp, l.cluster} {
				if err := link.Restore(); err != nil {
					t.Fatal(err)
				}
			}
			s.AwaitReady()
			tn.putConfigMap("after")
		})
	}
}

// unready checks that readyz fails and says these things.
func (s *syncer) unready(words ...string) error {
	code, body := s.Ask("health", "/readyz")
	if code != http.StatusInternalServerError {
		return fmt.Errorf("readyz: %d %s", code, body)
	}
	for _, word := range words {
		if !strings.Contains(body, word) {
			return fmt.Errorf("readyz does not say %q: %s", word, body)
		}
	}
	return nil
}

func (s *syncer) live() error {
	if code, body := s.Ask("health", "/livez?verbose"); code != http.StatusOK {
		return fmt.Errorf("livez: %d %s", code, body)
	}
	return nil
}

// What is wrong with the configuration ends the syncer with the remedy.
func TestA54WrongConfigurationIsNamedWithItsRemedy(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	bare := must(tn.fleet.kcp.CreateWorkspace(t.Context(), tn.ws.Path, "bare"))(t)
	for _, tc := range []struct {
		name    string
		options syncerOptions
		says    []string
	}{
		{"no such workspace", syncerOptions{flags: []string{"--sync-target-workspace=root:no-such"}}, []string{"root:no-such", "check --sync-target-workspace"}},
		{"no such SyncTarget", syncerOptions{target: "no-such"}, []string{"no-such", "does not exist", "--sync-target-name"}},
		{"no APIs in the workspace", syncerOptions{flags: []string{"--sync-target-workspace=" + bare.Path.String()}}, []string{"bind the APIExport workload.kcp.io", "kubectl workload bind"}},
		{"no rights in kcp", syncerOptions{kcp: tn.kcpAccount(nil)}, []string{"may not be read", "grant get, list, watch on synctargets"}},
		{"no rights in the cluster", syncerOptions{cluster: tn.clusterAccount(nil)}, []string{"kube-system", "grant get on namespaces"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // three of them wait for a server that may have just started
			mine := *tn
			mine.t = t
			mine.refuses(tc.options, tc.says...)
		})
	}
}

// A server that is not there is waited for, and probes name it.
func TestA54WrongAddressIsNamedByProbes(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	nowhere := rest.CopyConfig(tn.fleet.kcp.AdminConfig())
	nowhere.Host = "https://127.0.0.1:1"
	s := tn.startSyncerWith(syncerOptions{kcp: nowhere, mayFail: true})
	eventually(t, func() error { return s.unready("[-]kcp", "refused", "[-]synctarget failed: reading the SyncTarget") })
	if err := s.live(); err != nil {
		t.Error(err)
	}
}

// A missing binding shows on the SyncTarget, and once it is there the objects are synced.
func TestA54MissingBindingShowsOnTheSyncTarget(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.up.Delete(apisGroup+" APIBinding", "", config.KubernetesExport)
	tn.up.EventuallyGone(apisGroup+" APIBinding", "", config.KubernetesExport)
	s := tn.startSyncerWith(syncerOptions{mayFail: true})
	tn.awaitTarget(all(
		condition("APIsReady", "False", "APIExportMissing", "kubernetes", "kubectl workload bind"),
		condition("Ready", "False", "APIExportMissing"),
	))
	if err := s.unready("[-]types", "kubectl workload bind"); err != nil {
		t.Error(err)
	}
	if err := bind.Bind(t.Context(), tn.fleet.kcp.AdminConfig(), tn.ws.Path, tn.fleet.provider, exports, t.Output()); err != nil {
		t.Fatal(err)
	}
	tn.awaitTarget(condition("Ready", "True", "Syncing"))
	tn.putConfigMap("settings")
}

// A wrong URL of a virtual workspace shows on the SyncTarget.
func TestA54WrongFeedURLShowsOnTheSyncTarget(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	for name, url := range map[string]string{
		"not served": tn.fleet.kcp.AdminConfig().Host + "/services/apiexport/no-such/kubernetes",
		"nobody":     "https://127.0.0.1:1/services/apiexport/root/kubernetes",
	} {
		s := tn.startSyncerWith(syncerOptions{flags: []string{"--feed=assigned", "--feed-urls=" + url}, mayFail: true})
		tn.awaitTarget(all(condition("SyncerReady", "False", "FeedUnreachable", url), condition("Ready", "False", "FeedUnreachable")))
		if err := s.unready("[-]types", url); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.Terminate()
	}
}
