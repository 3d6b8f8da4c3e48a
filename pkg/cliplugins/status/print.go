package status

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"

	"sigs.k8s.io/yaml"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Format is how it is printed.
type Format string

// The formats.
const (
	Table Format = ""
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// ParseFormat reads the value of --output.
func ParseFormat(value string) (Format, error) {
	switch format := Format(value); format {
	case Table, Wide, JSON, YAML:
		return format, nil
	}
	return "", fmt.Errorf("--output=%s: must be wide, json or yaml, or be left out for a table", value)
}

// Print writes what there is: as tables with ages as of now, each followed by what is not as it should be, or as data.
func Print(out io.Writer, status *Status, format Format, now time.Time) error {
	switch format {
	case JSON:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(status.list())
	case YAML:
		raw, err := yaml.Marshal(status.list())
		if err != nil {
			return err
		}
		_, err = out.Write(raw)
		return err
	}
	var page strings.Builder
	for _, t := range []table{status.targets(format == Wide, now), status.locations(now), status.placements(format == Wide, now)} {
		t.write(&page)
	}
	_, err := io.WriteString(out, page.String())
	return err
}

// list is all of it, in the form that other tools understand.
func (s *Status) list() any {
	items := []any{}
	for i := range s.SyncTargets {
		items = append(items, &s.SyncTargets[i])
	}
	for i := range s.Locations {
		items = append(items, &s.Locations[i])
	}
	for i := range s.Placements {
		items = append(items, &s.Placements[i])
	}
	return map[string]any{"apiVersion": "v1", "kind": "List", "items": items}
}

// table is one kind of objects, and what is wrong with them.
type table struct {
	header   []string
	rows     [][]string
	problems []string
}

// write writes the table, unless it is empty.
func (t *table) write(page *strings.Builder) {
	if len(t.rows) == 0 {
		return
	}
	if page.Len() > 0 {
		page.WriteString("\n")
	}
	columns := tabwriter.NewWriter(page, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		_, _ = fmt.Fprintln(columns, strings.Join(row, "\t")) // a Builder takes everything
	}
	_ = columns.Flush()
	for _, problem := range t.problems {
		page.WriteString("\n" + problem + "\n")
	}
}

// add adds a row, and what is wrong with the object.
func (t *table) add(name string, row, problems []string) {
	t.rows = append(t.rows, row)
	if len(problems) > 0 {
		t.problems = append(t.problems, name+":\n  "+strings.Join(problems, "\n  "))
	}
}

func (s *Status) targets(wide bool, now time.Time) table {
	t := table{header: []string{"SYNCTARGET", "READY", "REASON", "HEARTBEAT", "SCHEDULING", "CLUSTER", "RESOURCES", "SYNCED", "PENDING", "FAILED", "LAG"}}
	if wide {
		t.header = append(t.header, "FEED", "CPU", "MEMORY", "ENDPOINT", "SYNCER", "AGE")
	}
	for i := range s.SyncTargets {
		target := &s.SyncTargets[i]
		row := cells(target, now)
		if wide {
			row = append(row, wideCells(target, now)...)
		}
		t.add(target.Name, row, problems(target, now))
	}
	return t
}

func (s *Status) locations(now time.Time) table {
	t := table{header: []string{"LOCATION", "READY", "AVAILABLE", "INSTANCES", "LABELS"}}
	for i := range s.Locations {
		location := &s.Locations[i]
		t.add(location.Name, []string{
			location.Name, readiness(location.Status.Conditions), strconv.Itoa(int(location.Status.AvailableInstances)),
			strconv.Itoa(int(location.Status.Instances)), orNone(labels.Set(location.Labels).String()),
		}, untrue(location.Status.Conditions, now))
	}
	return t
}

func (s *Status) placements(wide bool, now time.Time) table {
	t := table{header: []string{"PLACEMENT", "READY", "PHASE", "TARGETS", "LEAVING", "LOCATION"}}
	if wide {
		t.header = append(t.header, "STRATEGY", "NAMESPACES", "AGE")
	}
	for i := range s.Placements {
		p := &s.Placements[i]
		var selected, leaving []string
		for _, target := range p.Status.SelectedTargets {
			if target.Phase == schedulingv1alpha1.TargetLeaving {
				leaving = append(leaving, target.Name)
			} else {
				selected = append(selected, target.Name)
			}
		}
		location := ""
		if p.Status.SelectedLocation != nil {
			location = p.Status.SelectedLocation.LocationName
		}
		row := []string{
			p.Name, readiness(p.Status.Conditions), orNone(string(p.Status.Phase)), orNone(strings.Join(selected, ",")), orNone(strings.Join(leaving, ",")), orNone(location),
		}
		if wide {
			row = append(row, orNone(string(p.Spec.Strategy)), namespacesOf(p), since(&p.CreationTimestamp, now))
		}
		t.add(p.Name, row, untrue(p.Status.Conditions, now))
	}
	return t
}

// namespacesOf is which namespaces a Placement selects, in words.
func namespacesOf(p *schedulingv1alpha1.Placement) string {
	if selector := p.Spec.NamespaceSelector; selector != nil && len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		return "all"
	}
	return metav1.FormatLabelSelector(p.Spec.NamespaceSelector)
}

// readiness is the status of the condition Ready.
func readiness(conditions []metav1.Condition) string {
	if ready := meta.FindStatusCondition(conditions, workloadv1alpha1.ConditionReady); ready != nil {
		return string(ready.Status)
	}
	return string(metav1.ConditionUnknown)
}

// untrue are the conditions that are not True, each with its message.
func untrue(conditions []metav1.Condition, now time.Time) (lines []string) {
	for _, condition := range conditions {
		if condition.Status != metav1.ConditionTrue {
			lines = append(lines, fmt.Sprintf("%s is %s for %s: %s: %s",
				condition.Type, condition.Status, since(&condition.LastTransitionTime, now), condition.Reason, orNone(condition.Message)))
		}
	}
	return lines
}

func cells(target *workloadv1alpha1.SyncTarget, now time.Time) []string {
	ready, reason := string(metav1.ConditionUnknown), workloadv1alpha1.ReasonNeverConnected
	if condition := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady); condition != nil {
		ready, reason = string(condition.Status), condition.Reason
	}
	c := countsOf(target)
	return []string{
		target.Name, ready, reason, since(target.Status.LastSyncerHeartbeatTime, now), scheduling(target, now), orNone(target.Spec.WorkloadCluster.Name),
		resources(target), strconv.FormatInt(c.synced, 10), strconv.FormatInt(c.pending, 10), strconv.FormatInt(c.failed, 10), c.lag(now),
	}
}

func wideCells(target *workloadv1alpha1.SyncTarget, now time.Time) []string {
	return []string{
		orNone(string(target.Status.Feed)), free(target, corev1.ResourceCPU), free(target, corev1.ResourceMemory), orNone(target.Spec.WorkloadCluster.Endpoint),
		orNone(target.Status.SyncerIdentifier), since(&target.CreationTimestamp, now),
	}
}

// free is what the target offers of a resource, of all that it has.
func free(target *workloadv1alpha1.SyncTarget, resource corev1.ResourceName) string {
	capacity, known := target.Status.Capacity[resource]
	if !known {
		return "-"
	}
	allocatable := target.Status.Allocatable[resource]
	return allocatable.String() + "/" + capacity.String()
}

// resources is how many of the target's resource types are synced, of how many.
func resources(target *workloadv1alpha1.SyncTarget) string {
	accepted := 0
	for _, resource := range target.Status.SyncedResources {
		if resource.State == workloadv1alpha1.ResourceAccepted {
			accepted++
		}
	}
	return fmt.Sprintf("%d/%d", accepted, len(target.Status.SyncedResources))
}

// counts are how the target's objects fare. Failed ones are pending too: they are tried again.
type counts struct {
	synced, pending, failed int64
	// since is when the first change was seen that has not arrived yet; zero if all have.
	since metav1.Time
	// told: the syncer has told, and is still heard of.
	told, heard bool
}

func countsOf(target *workloadv1alpha1.SyncTarget) counts {
	heartbeat := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionHeartbeatHealthy)
	c := counts{told: !target.Status.LastSyncerHeartbeatTime.IsZero(), heard: heartbeat == nil || heartbeat.Status == metav1.ConditionTrue}
	for i := range target.Status.SyncedResources {
		resource := &target.Status.SyncedResources[i]
		c.synced += resource.Objects
		c.pending += resource.PendingObjects
		c.failed += resource.FailedObjects
		if since := resource.PendingSince; since != nil && (c.since.IsZero() || since.Before(&c.since)) {
			c.since = *since
		}
	}
	return c
}

// lag is for how long the first of all changes has been waiting that have not arrived on the other side.
func (c counts) lag(now time.Time) string {
	switch {
	case !c.told:
		return "-"
	case !c.heard:
		return "unknown" // the counts are as old as the heartbeat
	case c.since.IsZero():
		return "none"
	}
	return since(&c.since, now)
}

func scheduling(target *workloadv1alpha1.SyncTarget, now time.Time) string {
	evict := target.Spec.EvictAfter
	switch {
	case evict != nil && !evict.After(now):
		return "evicting"
	case evict != nil:
		return "evicts in " + duration.HumanDuration(evict.Sub(now))
	case target.Spec.Unschedulable:
		return "cordoned"
	}
	return "open"
}

// problems are the conditions that are not True and the resources that are not synced, each with its message.
func problems(target *workloadv1alpha1.SyncTarget, now time.Time) (lines []string) {
	lines = untrue(target.Status.Conditions, now)
	for i := range target.Status.SyncedResources {
		resource := &target.Status.SyncedResources[i]
		name := schema.GroupResource{Group: resource.Group, Resource: resource.Resource}
		if resource.State != workloadv1alpha1.ResourceAccepted {
			lines = append(lines, fmt.Sprintf("%s is %s: %s", name, resource.State, orNone(resource.Message)))
		}
		if resource.FailedObjects > 0 {
			lines = append(lines, fmt.Sprintf("%d %s cannot be synced, one for %s; each says why: kubectl workload explain", resource.FailedObjects, name, since(resource.PendingSince, now)))
		}
	}
	return lines
}

// since is how long ago it was. A clock that is ahead of ours shows as zero.
func since(when *metav1.Time, now time.Time) string {
	if when.IsZero() {
		return "never"
	}
	return duration.HumanDuration(max(now.Sub(when.Time), 0))
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
