package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// picture takes one of all servers.
func (s *stage) picture(ctx context.Context) (Picture, error) {
	p := Picture{Up: map[Slot]Original{}, Down: map[string]map[Slot]Copied{}, Namespaces: map[string][]int{}, Occupied: map[string][]int{}, Unready: map[string]string{}}
	if err := s.pictureUp(ctx, &p); err != nil {
		return p, err
	}
	for _, name := range Targets {
		if err := s.pictureDown(ctx, s.targets[name], &p); err != nil {
			return p, err
		}
		found, err := s.compute.Resource(syncTargets).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return p, err
		}
		st, err := typed[workloadv1alpha1.SyncTarget](found)
		if err != nil {
			return p, err
		}
		if ready := meta.FindStatusCondition(st.Status.Conditions, workloadv1alpha1.ConditionReady); ready == nil || ready.Status != metav1.ConditionTrue {
			p.Unready[name] = fmt.Sprintf("%+v", ready)
		}
	}
	return p, nil
}

func (s *stage) pictureUp(ctx context.Context, p *Picture) error {
	workspaceOf := map[logicalcluster.Name]int{}
	for i, ws := range s.workspaces {
		workspaceOf[ws.Cluster] = i
	}
	for _, kind := range Kinds {
		list, err := s.export.Resource(Resources[kind]).List(ctx, metav1.ListOptions{LabelSelector: incarnationLabel})
		if err != nil {
			return err
		}
		for i := range list.Items {
			u := &list.Items[i]
			u.SetKind(string(kind))
			workspace, ours := workspaceOf[logicalcluster.From(u)]
			if !ours {
				continue
			}
			original, err := s.original(u)
			if err != nil {
				return err
			}
			p.Up[Slot{workspace, kind, u.GetName()}] = original
		}
	}
	return nil
}

// fightLasts is for how long a syncer may go on calling it a fight when a vandal has changed the same copy again and again:
// by then it is true, however much has been corrected.
const fightLasts = 10 * time.Minute

// troubleIn is what the conditions tell of, but for a fight with a vandal that may not be over.
func troubleIn(conditions string, now time.Time) string {
	if conditions == "" {
		return ""
	}
	var told []metav1.Condition
	if err := json.Unmarshal([]byte(conditions), &told); err != nil {
		return conditions
	}
	fights := func(c metav1.Condition) bool {
		return c.Reason == workloadv1alpha1.ReasonDriftFight && strings.HasSuffix(c.Message, ", by vandal") && now.Sub(c.LastTransitionTime.Time) < fightLasts
	}
	if len(slices.DeleteFunc(told, fights)) == 0 {
		return ""
	}
	return conditions
}

func (s *stage) original(u *unstructured.Unstructured) (Original, error) {
	thing, misfit := Read(u)
	o := Original{Thing: thing, Misfit: text(misfit), UID: string(u.GetUID()), Deleting: u.GetDeletionTimestamp() != nil, On: map[string]string{}}
	for _, t := range s.targets {
		if state, on := u.GetLabels()[workloadv1alpha1.StateLabel(t.key)]; on {
			o.On[t.name] = state
		}
		if leaving := u.GetAnnotations()[workloadv1alpha1.DeletionAnnotation(t.key)]; leaving != "" {
			o.On[t.name] = "leaving since " + leaving
		}
		if trouble := troubleIn(u.GetAnnotations()[workloadv1alpha1.ConditionsAnnotation(t.key)], time.Now()); trouble != "" {
			o.Trouble += t.name + ": " + trouble
		}
		for _, finalizer := range u.GetFinalizers() {
			if finalizer == workloadv1alpha1.SyncerFinalizer(t.key) {
				o.Claims = append(o.Claims, t.name)
			}
		}
	}
	if u.GetKind() == string(Deployment) {
		d, err := typed[appsv1.Deployment](u)
		if err != nil {
			return o, err
		}
		o.Replicas, o.Available = int64(ptr.Deref(d.Spec.Replicas, 1)), int64(d.Status.AvailableReplicas)
		o.Stale = d.Status.ObservedGeneration != d.Generation || int64(d.Status.Replicas) != o.Replicas
	}
	return o, nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *stage) pictureDown(ctx context.Context, t *target, p *Picture) error {
	copies := map[Slot]Copied{}
	p.Down[t.name] = copies
	marked := metav1.ListOptions{LabelSelector: workloadv1alpha1.DownstreamClusterLabel}
	for _, kind := range Kinds {
		list, err := t.down.Resource(Resources[kind]).List(ctx, marked)
		if err != nil {
			return err
		}
		for i := range list.Items {
			u := &list.Items[i]
			if u.GetLabels()[strangerLabel] != "" {
				continue
			}
			u.SetKind(string(kind))
			workspace, ours := t.workspaceOf[u.GetNamespace()]
			thing, misfit := Read(u)
			if !ours || thing.Incarnation == 0 || u.GetLabels()[workloadv1alpha1.DownstreamClusterLabel] != t.key {
				p.Unknown = append(p.Unknown, fmt.Sprintf("%s %s/%s in %s", kind, u.GetNamespace(), u.GetName(), t.name))
				continue
			}
			wanted, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
			available, _, _ := unstructured.NestedInt64(u.Object, "status", "availableReplicas")
			copies[Slot{workspace, kind, u.GetName()}] = Copied{Thing: thing, Misfit: text(misfit), Deleting: u.GetDeletionTimestamp() != nil, Replicas: wanted, Available: available}
		}
	}
	derived, err := t.typed.DiscoveryV1().EndpointSlices(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range derived.Items {
		if workspace, ours := t.workspaceOf[derived.Items[i].Namespace]; ours {
			p.Occupied[t.name] = append(p.Occupied[t.name], workspace)
		}
	}
	list, err := t.down.Resource(namespaces).List(ctx, marked)
	if err != nil {
		return err
	}
	for _, u := range list.Items {
		if workspace, ours := t.workspaceOf[u.GetName()]; ours {
			p.Namespaces[t.name] = append(p.Namespaces[t.name], workspace)
		} else {
			p.Unknown = append(p.Unknown, "namespace "+u.GetName()+" in "+t.name)
		}
	}
	return nil
}

// audit judges what the syncers have written since the last time.
type audit struct {
	auditors map[string]*Auditor
	files    map[string]*os.File
	rest     map[string][]byte
}

func newAudit(s *stage, history *History) (*audit, error) {
	a := &audit{auditors: map[string]*Auditor{}, files: map[string]*os.File{}, rest: map[string][]byte{}}
	for _, t := range s.targets {
		a.auditors[t.name] = &Auditor{
			Target: t.name, Key: t.key, History: history,
			Workspace: func(namespace string) (int, bool) {
				workspace, ours := t.workspaceOf[namespace]
				return workspace, ours
			},
		}
		file, err := os.Open(t.cluster.AuditLog())
		if err != nil {
			return nil, err
		}
		a.files[t.name] = file
	}
	return a, nil
}

func (a *audit) judge() (complaints []string, err error) {
	for name, auditor := range a.auditors {
		raw, err := io.ReadAll(bufio.NewReader(a.files[name]))
		if err != nil {
			return nil, err
		}
		raw = append(a.rest[name], raw...)
		whole := bytes.LastIndexByte(raw, '\n') + 1
		a.rest[name] = bytes.Clone(raw[whole:])
		for line := range bytes.SplitSeq(raw[:whole], []byte("\n")) {
			if event, ok := ParseAudit(line); ok {
				complaints = append(complaints, auditor.Judge(event)...)
			}
		}
	}
	return complaints, nil
}

// footprint asks a program, after a garbage collection, what it takes.
func (p *program) footprint(ctx context.Context) (Footprint, error) {
	if _, err := p.ask(ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return Footprint{}, err
	}
	metrics, err := p.ask(ctx, "/metrics")
	if err != nil {
		return Footprint{}, err
	}
	var f Footprint
	for line := range strings.SplitSeq(metrics, "\n") {
		name, value, _ := strings.Cut(line, " ")
		var number float64
		switch _, _ = fmt.Sscan(value, &number); name {
		case "go_goroutines":
			f.Goroutines = int(number)
		case "go_memstats_heap_alloc_bytes":
			f.Heap = int64(number)
		}
	}
	return f, nil
}

func (p *program) ask(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.metrics+path, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s is answered %s", p.name, path, response.Status)
	}
	return string(raw), err
}

// byteForByte is an object as the server wrote it, but for the version, and for what a kcp notes on objects for itself, now and then.
func byteForByte(u *unstructured.Unstructured) string {
	u = u.DeepCopy()
	u.SetResourceVersion("")
	annotations := u.GetAnnotations()
	delete(annotations, "kcp.io/original-api-version")
	u.SetAnnotations(annotations)
	raw, _ := json.Marshal(u.Object) // what came as JSON goes as JSON
	return string(raw)
}
