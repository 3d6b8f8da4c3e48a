package env_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/kcp-dev/workload-syncer/test/env"
)

func TestDeploymentBecomesAvailable(t *testing.T) {
	cluster := env.For(t).Cluster("alpha")
	client := clientFor(t, cluster.AdminConfig())
	deployments := client.AppsV1().Deployments("default")
	if _, err := deployments.Create(t.Context(), deployment("web", 3), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	env.Eventually(t, 60*time.Second, func() error {
		got, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Status.AvailableReplicas != 3 {
			return fmt.Errorf("available replicas are %d", got.Status.AvailableReplicas)
		}
		return nil
	})
	t.Logf("available after %s", time.Since(began))
}

func TestWorkspaceLifeAndServiceAccount(t *testing.T) {
	kcp := env.For(t).KCP()
	began := time.Now()
	team, err := kcp.CreateWorkspace(t.Context(), env.Root, "team-a")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("workspace %s (%s) after %s", team.Path, team.Cluster, time.Since(began))

	config, err := kcp.ServiceAccount(t.Context(), team.Path, readerOfConfigMaps())
	if err != nil {
		t.Fatal(err)
	}
	mayReadConfigMapsOnly(t, config)

	if err := kcp.DeleteWorkspace(t.Context(), team.Path); err != nil {
		t.Fatal(err)
	}
}

func TestServiceAccountOfCluster(t *testing.T) {
	config, err := env.For(t).Cluster("alpha").ServiceAccount(t.Context(), readerOfConfigMaps())
	if err != nil {
		t.Fatal(err)
	}
	mayReadConfigMapsOnly(t, config)
}

func readerOfConfigMaps() env.ServiceAccount {
	return env.ServiceAccount{Namespace: "reader", Name: "reader", Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}},
	}}
}

func mayReadConfigMapsOnly(t *testing.T, config *rest.Config) {
	t.Helper()
	client := clientFor(t, config)
	if _, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("listing what the rules allow: %v", err)
	}
	if _, err := client.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing what the rules do not allow: %v, want Forbidden", err)
	}
}

func TestServersComeBack(t *testing.T) {
	e := env.For(t)
	for _, server := range []struct {
		name    string
		process *env.Process
		compact func(context.Context) error
		config  *rest.Config
	}{
		{"kube-apiserver", e.Cluster("alpha").APIServer, e.Cluster("alpha").Compact, e.Cluster("alpha").AdminConfig()},
		{"kcp", e.KCP().Process, e.KCP().Compact, e.KCP().WorkspaceConfig(env.Root)},
	} {
		t.Run(server.name, func(t *testing.T) {
			client := clientFor(t, server.config)
			name := "kept-by-" + server.name
			create(t, client, name)

			server.process.Pause()
			if err := get(t, client, name, time.Second); err == nil {
				t.Error("a paused server answered")
			}
			server.process.Resume()
			env.Eventually(t, 20*time.Second, func() error { return get(t, client, name, 5*time.Second) })

			version := versionOf(t, client)
			create(t, client, name+"-2")
			if err := server.compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			server.process.Kill()
			if err := get(t, client, name, time.Second); err == nil {
				t.Error("a killed server answered")
			}
			began := time.Now()
			if err := server.process.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("restarted within %s", time.Since(began))
			if err := get(t, client, name, 10*time.Second); err != nil {
				t.Errorf("after the restart: %v", err)
			}
			if err := watchFrom(t, client, version); !apierrors.IsResourceExpired(err) {
				t.Errorf("a watch from before the compaction: %v, want that it has expired", err)
			}
		})
	}
}

func versionOf(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	list, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.ResourceVersion
}

// watchFrom gives the error with which a watch from that version begins.
func watchFrom(t *testing.T, client kubernetes.Interface, version string) error {
	w, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return err
	}
	defer w.Stop()
	select {
	case event := <-w.ResultChan():
		return apierrors.FromObject(event.Object)
	case <-time.After(10 * time.Second):
		return nil
	}
}

func TestLinksToServers(t *testing.T) {
	e := env.For(t)
	for _, server := range []struct {
		name    string
		newLink func() (*env.Link, error)
		config  *rest.Config
	}{
		{"cluster", e.Cluster("alpha").NewLink, e.Cluster("alpha").AdminConfig()},
		{"kcp", e.KCP().NewLink, e.KCP().WorkspaceConfig(env.Root)},
	} {
		t.Run(server.name, func(t *testing.T) {
			link, err := server.newLink()
			if err != nil {
				t.Fatal(err)
			}
			direct, linked := clientFor(t, server.config), clientFor(t, link.Config(server.config))
			name := "seen-through-link-to-" + server.name
			create(t, direct, name)
			if err := get(t, linked, name, 5*time.Second); err != nil {
				t.Fatalf("through the link: %v", err)
			}
			for _, hurt := range []struct {
				name string
				do   func()
			}{{"cut", link.Cut}, {"hang", link.Hang}} {
				hurt.do()
				if err := get(t, linked, name, time.Second); err == nil {
					t.Errorf("%s: the link still works", hurt.name)
				}
				if err := get(t, direct, name, 5*time.Second); err != nil {
					t.Errorf("%s: the server is hurt too: %v", hurt.name, err)
				}
				if err := link.Restore(); err != nil {
					t.Fatal(err)
				}
				env.Eventually(t, 10*time.Second, func() error { return get(t, linked, name, 5*time.Second) })
			}
		})
	}
}

func clientFor(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func create(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, client kubernetes.Interface, name string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, err := client.CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{})
	return err
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(replicas),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/image"}}},
			},
		},
	}
}

func TestServersTellTheirVersions(t *testing.T) {
	e := env.For(t)
	for _, tc := range []struct {
		config *rest.Config
		want   string
	}{
		{e.Cluster("alpha").AdminConfig(), "v1.36.1"},
		{e.KCP().WorkspaceConfig(env.Root), "v1.32.3+kcp-v0.28.1"},
	} {
		got, err := clientFor(t, tc.config).Discovery().ServerVersion()
		if err != nil || got.GitVersion != tc.want {
			t.Errorf("version is %v, %v; want %s", got, err, tc.want)
		}
	}
}
