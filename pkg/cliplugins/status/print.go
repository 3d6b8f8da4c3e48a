package status

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"

	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Format is how the targets are printed.
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

// Print writes the targets: as a table with ages as of now, followed by what is not as it should be, or as data.
func Print(out io.Writer, list *workloadv1alpha1.SyncTargetList, format Format, now time.Time) error {
	switch format {
	case JSON:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(list)
	case YAML:
		raw, err := yaml.Marshal(list)
		if err != nil {
			return err
		}
		_, err = out.Write(raw)
		return err
	}
	return printTable(out, list, format == Wide, now)
}

func printTable(out io.Writer, list *workloadv1alpha1.SyncTargetList, wide bool, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	write := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) } // Flush tells of errors
	header := []string{"NAME", "READY", "REASON", "HEARTBEAT", "CLUSTER", "RESOURCES", "OBJECTS"}
	if wide {
		header = append(header, "FEED", "SCHEDULING", "ENDPOINT", "SYNCER", "AGE")
	}
	write(header...)
	for i := range list.Items {
		target := &list.Items[i]
		row := cells(target, now)
		if wide {
			row = append(row, wideCells(target, now)...)
		}
		write(row...)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i := range list.Items {
		if problems := problems(&list.Items[i], now); len(problems) > 0 {
			_, err := fmt.Fprintf(out, "\n%s:\n  %s\n", list.Items[i].Name, strings.Join(problems, "\n  "))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func cells(target *workloadv1alpha1.SyncTarget, now time.Time) []string {
	ready, reason := string(metav1.ConditionUnknown), workloadv1alpha1.ReasonNeverConnected
	if condition := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady); condition != nil {
		ready, reason = string(condition.Status), condition.Reason
	}
	return []string{
		target.Name, ready, reason, since(target.Status.LastSyncerHeartbeatTime, now), orNone(target.Spec.WorkloadCluster.Name),
		resources(target), objects(target),
	}
}

func wideCells(target *workloadv1alpha1.SyncTarget, now time.Time) []string {
	return []string{
		orNone(string(target.Status.Feed)), scheduling(target, now), orNone(target.Spec.WorkloadCluster.Endpoint),
		orNone(target.Status.SyncerIdentifier), since(&target.CreationTimestamp, now),
	}
}

// resources is how many of the target's resource types are synced, of how many.
func resources(target *workloadv1alpha1.SyncTarget) string {
	accepted := 0
	for _, resource := range target.Status.SyncedResources {
		if resource.State == workloadv1alpha1.ResourceAccepted {
			accepted++
		}
	}
	return ratio(int64(accepted), int64(len(target.Status.SyncedResources)))
}

// objects is how many of the target's objects are in sync, of how many.
func objects(target *workloadv1alpha1.SyncTarget) string {
	var synced, pending int64
	for _, resource := range target.Status.SyncedResources {
		synced += resource.Objects
		pending += resource.PendingObjects
	}
	return ratio(synced, synced+pending)
}

func ratio(done, all int64) string { return fmt.Sprintf("%d/%d", done, all) }

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
	for _, condition := range target.Status.Conditions {
		if condition.Status != metav1.ConditionTrue {
			lines = append(lines, fmt.Sprintf("%s is %s for %s: %s: %s",
				condition.Type, condition.Status, since(&condition.LastTransitionTime, now), condition.Reason, orNone(condition.Message)))
		}
	}
	for _, resource := range target.Status.SyncedResources {
		if resource.State != workloadv1alpha1.ResourceAccepted {
			lines = append(lines, fmt.Sprintf("%s is %s: %s",
				schema.GroupResource{Group: resource.Group, Resource: resource.Resource}, resource.State, orNone(resource.Message)))
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
