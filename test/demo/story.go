package main

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// placeOf is the cluster that the team's Placement has chosen.
func (d *demo) placeOf(ctx context.Context, t *team) (*cluster, error) {
	placement, err := t.placements().Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	name, _, _ := unstructured.NestedString(placement.Object, "status", "targetNames")
	for _, c := range d.clusters {
		if c.name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("the Placement of %s has chosen %q", t.name, name)
}

// other is the cluster that is not c.
func (d *demo) other(c *cluster) *cluster {
	if c == d.clusters[0] {
		return d.clusters[1]
	}
	return d.clusters[0]
}

func (d *demo) deploy(ctx context.Context, t *team) error {
	at, err := d.placeOf(ctx, t)
	if err != nil {
		return err
	}
	objects, err := readExamples("web.yaml")
	if err != nil {
		return err
	}
	web := objects[len(objects)-1]
	replicas := number(web, "spec", "replicas")
	hops := []hop{}
	for _, object := range objects[1 : len(objects)-1] {
		hops = append(hops, hop{
			says: fmt.Sprintf("%s has the %s %s", at.name, object.GetKind(), object.GetName()), at: of(at.down, object, at.namespaceOf(t)),
			name: object.GetName(), reached: exists,
		})
	}
	hops = append(hops, deploymentHops(t, at, replicas, "has a copy of the Deployment, in namespace "+at.namespaceOf(t))...)
	return journey(ctx, d.screen, "kcp has all that the file holds", func(ctx context.Context) error {
		for _, object := range objects {
			if err := create(ctx, t.up, object); err != nil {
				return err
			}
		}
		return nil
	}, hops...)
}

// deploymentHops are those of a Deployment on its way down, and of its status home.
func deploymentHops(t *team, at *cluster, replicas int64, arrived string) []hop {
	runs := func(object *unstructured.Unstructured) bool {
		return hasReplicas(replicas)(object) && isAvailable(replicas)(object)
	}
	return []hop{
		{at.name + " " + arrived, at.deployments(t), deployment, hasReplicas(replicas)},
		{fmt.Sprintf("%s runs all %d pods", at.name, replicas), at.deployments(t), deployment, runs},
		{fmt.Sprintf("the workspace says: Available, %d of %d", replicas, replicas), t.deployments(), deployment, runs},
	}
}

func (d *demo) scale(ctx context.Context, t *team) error {
	at, err := d.placeOf(ctx, t)
	if err != nil {
		return err
	}
	const replicas = 5
	return journey(ctx, d.screen, "kcp has the change", func(ctx context.Context) error {
		return patch(ctx, t.deployments(), deployment, fmt.Sprintf(`{"spec": {"replicas": %d}}`, replicas))
	}, deploymentHops(t, at, replicas, "asks for it too")...)
}

func (d *demo) tamper(ctx context.Context, t *team) error {
	at, err := d.placeOf(ctx, t)
	if err != nil {
		return err
	}
	before, err := at.deployments(t).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	// The change makes one generation, the correction another.
	corrected := func(object *unstructured.Unstructured) bool {
		return object.GetGeneration() >= before.GetGeneration()+2 && image(object) == image(before)
	}
	return journey(ctx, d.screen, at.name+" has the wrong image", func(ctx context.Context) error {
		return patch(ctx, at.deployments(t), deployment, `{"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "example.com/miner:latest"}]}}}}`)
	}, hop{at.name + " has the right image again", at.deployments(t), deployment, corrected})
}

func (d *demo) vandalize(ctx context.Context, t *team) error {
	at, err := d.placeOf(ctx, t)
	if err != nil {
		return err
	}
	before, err := at.deployments(t).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	replicas := number(before, "spec", "replicas")
	again := func(object *unstructured.Unstructured) bool { return object.GetUID() != before.GetUID() }
	err = journey(ctx, d.screen, "the copy is deleted", func(ctx context.Context) error {
		return at.deployments(t).Delete(ctx, deployment, metav1.DeleteOptions{})
	},
		hop{at.name + " has a copy again", at.deployments(t), deployment, again},
		hop{at.name + " runs all pods again", at.deployments(t), deployment, func(object *unstructured.Unstructured) bool {
			return again(object) && isAvailable(replicas)(object)
		}},
	)
	if err != nil {
		return err
	}
	return d.statusHome(ctx, t, at)
}

// statusHome waits until the workspace says what the cluster says: until then its status may be about the copy before.
func (d *demo) statusHome(ctx context.Context, t *team, at *cluster) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return env.Poll(ctx, func(ctx context.Context) error {
		up, err := t.deployments().Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return err
		}
		down, err := at.deployments(t).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return err
		}
		said, _, _ := unstructured.NestedSlice(up.Object, "status", "conditions")
		found, _, _ := unstructured.NestedSlice(down.Object, "status", "conditions")
		if !hasCondition(up, "Available") || !reflect.DeepEqual(said, found) {
			return fmt.Errorf("the workspace of %s does not say what %s says", t.name, at.name)
		}
		return nil
	})
}

// drain empties the cluster of the team, and checks that the team never notices.
func (d *demo) drain(ctx context.Context, t *team) error {
	from, err := d.placeOf(ctx, t)
	if err != nil {
		return err
	}
	to := d.other(from)
	web, err := t.deployments().Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	replicas := number(web, "spec", "replicas")
	stop, err := watchAvailability(ctx, t)
	if err != nil {
		return err
	}
	err = journey(ctx, d.screen, "kubectl workload drain "+from.name+" says that it is done", func(ctx context.Context) error {
		return d.workload(ctx, "drain", from.name, "--workspace", provider, "--timeout", patience.String())
	}, append(deploymentHops(t, to, replicas, "has a copy")[:2], hop{"the copy is gone from " + from.name, from.deployments(t), deployment, gone})...)
	if unavailable := stop(); unavailable != nil && err == nil {
		return unavailable
	}
	if err != nil {
		return err
	}
	d.say("In all that time the workspace never said anything but Available.")
	return d.workload(ctx, "uncordon", from.name, "--workspace", provider)
}

// watchAvailability looks at the team's Deployment until the returned function is called, which tells if it was ever not Available.
func watchAvailability(ctx context.Context, t *team) (stop func() error, err error) {
	w, err := t.deployments().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + deployment})
	if err != nil {
		return nil, err
	}
	var unavailable error
	var wg sync.WaitGroup
	wg.Go(func() {
		for event := range w.ResultChan() {
			if object, ok := event.Object.(*unstructured.Unstructured); ok && !hasCondition(object, "Available") && unavailable == nil {
				unavailable = fmt.Errorf("it was not Available: %v", object.Object["status"])
			}
		}
	})
	return func() error {
		w.Stop()
		wg.Wait()
		return unavailable
	}, nil
}

// die kills the cluster of the team with all that runs in it, and so the syncer too.
func (d *demo) die(ctx context.Context, t *team) error {
	dead, err := d.placeOf(ctx, t)
	if err != nil {
		return err
	}
	alive := d.other(dead)
	web, err := t.deployments().Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	replicas := number(web, "spec", "replicas")
	targets := of(d.compute, kind(workloadv1alpha1.SchemeGroupVersion.String(), "SyncTarget"), "")
	err = journey(ctx, d.screen, dead.name+" is dead: API server, etcd, nodes and syncer", func(context.Context) error {
		dead.env.Kill()
		dead.syncer.Kill()
		return nil
	}, append([]hop{
		{"kcp knows: SyncTarget " + dead.name + " is not ready", targets, dead.name, func(object *unstructured.Unstructured) bool {
			return !hasCondition(object, workloadv1alpha1.ConditionReady)
		}},
		{"the Placement has chosen " + alive.name, t.placements(), "default", func(object *unstructured.Unstructured) bool {
			names, _, _ := unstructured.NestedString(object.Object, "status", "targetNames")
			return names == alive.name
		}},
	}, deploymentHops(t, alive, replicas, "has a copy")[:2]...)...)
	if err != nil {
		return err
	}
	return d.workload(ctx, "explain", "deployment/"+deployment, "-n", namespace, "--workspace", t.workspace.Path.String())
}

// remove gives the dead cluster up, so that nothing waits for it, and deletes what the team has.
func (d *demo) remove(ctx context.Context, t *team) error {
	at, err := d.placeOf(ctx, t)
	if err != nil {
		return err
	}
	dead := d.other(at)
	finalizer := workloadv1alpha1.SyncerFinalizer(workloadv1alpha1.SyncTargetKey(dead.target.ClusterName, dead.name))
	err = journey(ctx, d.screen, "kubectl delete synctarget "+dead.name, func(ctx context.Context) error {
		return of(d.compute, kind(workloadv1alpha1.SchemeGroupVersion.String(), "SyncTarget"), "").Delete(ctx, dead.name, metav1.DeleteOptions{})
	}, hop{"nothing of " + t.name + " waits for " + dead.name, t.deployments(), deployment, func(object *unstructured.Unstructured) bool {
		for _, f := range object.GetFinalizers() {
			if f == finalizer {
				return false
			}
		}
		return true
	}})
	if err != nil {
		return err
	}
	err = journey(ctx, d.screen, "kcp knows that the Deployment shall go", func(ctx context.Context) error {
		return t.deployments().Delete(ctx, deployment, metav1.DeleteOptions{})
	},
		hop{"the copy is gone from " + at.name, at.deployments(t), deployment, gone},
		hop{"the Deployment is gone from the workspace", t.deployments(), deployment, gone},
	)
	if err != nil {
		return err
	}
	namespaces := kind("v1", "Namespace")
	return journey(ctx, d.screen, "kcp knows that the namespace shall go", func(ctx context.Context) error {
		return of(t.up, namespaces, "").Delete(ctx, namespace, metav1.DeleteOptions{})
	},
		hop{"the namespace is gone from the workspace", of(t.up, namespaces, ""), namespace, gone},
		hop{"the namespace " + at.namespaceOf(t) + " is gone from " + at.name, of(at.down, namespaces, ""), at.namespaceOf(t), gone},
	)
}
