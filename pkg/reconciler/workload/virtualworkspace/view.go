package virtualworkspace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/summarize"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
)

// owner is the target as far as objects are concerned, in one of its views: what is its own, and what it sees.
type owner struct {
	key   string
	state workloadv1alpha1.State
}

// ownerOf: namespaces are labelled Sync for both views.
func ownerOf(r request) owner {
	if r.up && r.gvr.GroupResource() != namespaces {
		return owner{key: r.target.key(), state: workloadv1alpha1.StateUpsync}
	}
	return owner{key: r.target.key(), state: workloadv1alpha1.StateSync}
}

func (o owner) stateLabel() string { return workloadv1alpha1.StateLabel(o.key) }
func (o owner) finalizer() string  { return workloadv1alpha1.SyncerFinalizer(o.key) }

// lastApplied is where kubectl keeps the whole object once more, without the target's spec-diff.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// showsLabel: the target sees its own state label, and what users set. All other names of kcp.io are the protocol of other
// targets, of coordinators, or kcp's own.
func (o owner) showsLabel(name string) bool {
	return name == o.stateLabel() || !ofKCP(name)
}

// shownAnnotations are those of kcp.io that tell every target something.
var shownAnnotations = map[string]bool{
	logicalcluster.AnnotationKey:                      true,
	workloadv1alpha1.SummarizingAnnotation:            true,
	workloadv1alpha1.UpsyncDerivedResourcesAnnotation: true,
	workloadv1alpha1.ConflictPolicyAnnotation:         true,
	workloadv1alpha1.ImmutablePolicyAnnotation:        true,
	workloadv1alpha1.RemovalPolicyAnnotation:          true,
	workloadv1alpha1.TraceAnnotation:                  true,
}

// showsAnnotation is about names; [facts] know about the rest.
func (o owner) showsAnnotation(name string) bool {
	switch name {
	case lastApplied:
		return false
	case workloadv1alpha1.SoftFinalizersAnnotation(o.key), workloadv1alpha1.ConditionsAnnotation(o.key):
		return true
	case workloadv1alpha1.UpsyncedVersionAnnotation:
		return o.state == workloadv1alpha1.StateUpsync
	}
	return shownAnnotations[name] || !ofKCP(name)
}

// ofKCP: the name is in kcp.io or below.
func ofKCP(name string) bool {
	group, _, _ := strings.Cut(name, "/")
	return group == "kcp.io" || strings.HasSuffix(group, ".kcp.io")
}

// facts are what the metadata of an object says about it and the target.
type facts struct {
	uid, resourceVersion string
	cluster              string
	namespace, name      string
	created              []byte // as it stands in the text
	deleting             bool

	// assigned: the state label has the value of the view. claimed: the target's finalizer is there.
	assigned, claimed bool
	// leaving is when the object was asked to leave this target; empty if it was not.
	leaving string
	// kept: somebody still needs the copy, whatever else is asked.
	kept bool
	// specDiff is the JSON Patch on spec for this target.
	specDiff string
	// others: the object is on other targets too, so its status is not this target's alone.
	others bool
	// status is this target's, as an annotation holds it when there are others.
	status string
	// rules: the object has summarizing rules of its own. reported is what this target said by them.
	rules    summarize.Rules
	reported string
}

// ruled: the object has summarizing rules of its own.
func (f facts) ruled() bool { return f.rules != nil }

// mine: the target may know of the object. One that lost its state label while a claim is left is known so far that
// the claim can be taken off.
func (f facts) mine() bool { return f.assigned || f.claimed }

// shownAsDeleted: the target is to remove its copy although the object stays.
func (f facts) shownAsDeleted() bool { return f.leaving != "" && !f.kept }

// object is one as kcp returned it, cut into pieces.
type object struct {
	members     []member // of the whole
	metadata    []member
	labels      []member
	annotations []member
	finalizers  []string
	facts       facts
}

// take cuts an object into pieces and reads the facts.
func (o owner) take(raw []byte) (*object, error) {
	x := &object{}
	var err error
	if x.members, err = members(raw); err != nil {
		return nil, err
	}
	for _, m := range x.members {
		if m.name != "metadata" {
			continue
		}
		if x.metadata, err = members(m.value); err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
	}
	for _, m := range x.metadata {
		if err := x.takeMetadata(m); err != nil {
			return nil, fmt.Errorf("metadata.%s: %w", m.name, err)
		}
	}
	x.judge(o)
	return x, nil
}

func (x *object) takeMetadata(m member) (err error) {
	f := &x.facts
	switch m.name {
	case "uid":
		f.uid = m.text()
	case "resourceVersion":
		f.resourceVersion = m.text()
	case "namespace":
		f.namespace = m.text()
	case "name":
		f.name = m.text()
	case "creationTimestamp":
		f.created = m.value
	case "deletionTimestamp":
		f.deleting = m.text() != ""
	case "labels":
		x.labels, err = members(m.value)
	case "annotations":
		x.annotations, err = members(m.value)
	case "finalizers":
		err = json.Unmarshal(m.value, &x.finalizers)
	}
	return err
}

func (x *object) judge(o owner) {
	f := &x.facts
	var leaves map[string]bool
	for _, m := range x.annotations {
		switch m.name {
		case logicalcluster.AnnotationKey:
			f.cluster = m.text()
		case workloadv1alpha1.DeletionAnnotation(o.key):
			f.leaving = m.text()
		case workloadv1alpha1.SoftFinalizersAnnotation(o.key):
			f.kept = strings.Trim(m.text(), ", ") != ""
		case workloadv1alpha1.SpecDiffAnnotation(o.key):
			f.specDiff = m.text()
		case workloadv1alpha1.StatusAnnotation(o.key):
			f.status = m.text()
		case workloadv1alpha1.SyncerViewAnnotation(o.key):
			f.reported = m.text()
		case workloadv1alpha1.SummarizingAnnotation:
			rules, explicit, err := workloadv1alpha1.SummarizingRules(map[string]string{m.name: m.text()})
			if explicit && err == nil && o.state == workloadv1alpha1.StateSync {
				f.rules = append(summarize.Rules{}, rules...)
			}
		}
		if key, ok := workloadv1alpha1.KeyOfDeletionAnnotation(m.name); ok {
			if leaves == nil { // by far the most objects need none
				leaves = map[string]bool{}
			}
			leaves[key] = m.text() != ""
		}
	}
	for _, m := range x.labels {
		key, ok := workloadv1alpha1.KeyOfStateLabel(m.name)
		switch {
		case !ok:
		case key == o.key:
			f.assigned = m.text() == string(o.state)
		case !leaves[key]:
			f.others = true
		}
	}
	for _, finalizer := range x.finalizers {
		f.claimed = f.claimed || finalizer == o.finalizer()
	}
}

// annotated: the object has an annotation of that name.
func (x *object) annotated(name string) bool {
	return slices.ContainsFunc(x.annotations, func(m member) bool { return m.name == name })
}

// how much of an object is shown.
type extent int

const (
	// whole: all that the target sees of its objects.
	whole extent = iota
	// outline: just the metadata, for what is no longer the target's, and for namespaces.
	outline
)

// shownMetadata are the fields that are shown as they are. What else metadata holds, today or in a later Kubernetes, is not.
var shownMetadata = map[string]bool{
	"name": true, "namespace": true, "uid": true, "resourceVersion": true, "generation": true,
	"creationTimestamp": true, "deletionTimestamp": true, "deletionGracePeriodSeconds": true,
}

// write writes the target's view of the object.
func (x *object) write(out *bytes.Buffer, o owner, e extent) error {
	spec, patched, err := x.patchedSpec()
	if err != nil || e == outline {
		patched = false // the annotation is shown instead, and the syncer tells the user what is wrong with it
	}
	if x.facts.ruled() && e == whole {
		return x.writeRuled(out, o, spec, patched)
	}
	w := beginObject(out)
	for _, m := range x.members {
		switch {
		case m.name == "metadata":
			w.name(m.name)
			x.writeMetadata(out, o, patched, nil)
		case m.name == "apiVersion" || m.name == "kind":
			w.member(m.name, m.value)
		case e == outline:
		case m.name == "spec" && patched:
			w.member(m.name, spec)
		case m.name == "status" && x.facts.others && o.state == workloadv1alpha1.StateSync:
		default:
			w.member(m.name, m.value)
		}
	}
	if status, ok := x.ownStatus(o); ok && e == whole {
		w.member("status", status)
	}
	w.end()
	return nil
}

// writeRuled writes the target's view of an object with summarizing rules of its own.
func (x *object) writeRuled(out *bytes.Buffer, o owner, spec []byte, patched bool) error {
	decoded, err := x.decode()
	if err != nil {
		return err
	}
	reported := x.facts.rules.Reported(decoded.Object, x.facts.reported, !x.facts.others)
	if patched {
		var own map[string]any
		if err := utiljson.Unmarshal(spec, &own); err != nil {
			return err
		}
		decoded.Object["spec"] = own
	}
	if err := x.facts.rules.Show(decoded.Object, reported, !x.facts.others); err != nil {
		return err
	}
	w := beginObject(out)
	for _, name := range slices.Sorted(maps.Keys(decoded.Object)) {
		if name == "metadata" {
			w.name(name)
			x.writeMetadata(out, o, patched, reported)
			continue
		}
		value, err := json.Marshal(decoded.Object[name])
		if err != nil {
			return err
		}
		w.member(name, value)
	}
	w.end()
	return nil
}

// ownStatus is what this target said when the object has others: the object's own status is made of all of them.
func (x *object) ownStatus(o owner) ([]byte, bool) {
	if !x.facts.others || o.state != workloadv1alpha1.StateSync {
		return nil, false
	}
	var status map[string]any
	if err := utiljson.Unmarshal([]byte(x.facts.status), &status); err != nil || status == nil {
		return nil, false
	}
	return []byte(x.facts.status), true
}

// patchedSpec is the spec as it holds for this target, if that is another than for all.
func (x *object) patchedSpec() (spec []byte, patched bool, err error) {
	if x.facts.specDiff == "" {
		return nil, false, nil
	}
	for _, m := range x.members {
		if m.name != "spec" {
			continue
		}
		var decoded map[string]any
		if err := utiljson.Unmarshal(m.value, &decoded); err != nil {
			return nil, false, err
		}
		changed, err := transform.PatchSpec(decoded, x.facts.specDiff)
		if err != nil {
			return nil, false, err
		}
		spec, err = json.Marshal(changed)
		return spec, err == nil, err
	}
	return nil, false, nil
}

// writeMetadata writes the metadata; reported is what the target said by the object's rules.
func (x *object) writeMetadata(out *bytes.Buffer, o owner, patched bool, reported map[string]any) {
	w := beginObject(out)
	for _, m := range x.metadata {
		switch {
		case shownMetadata[m.name]:
			w.member(m.name, m.value)
		case m.name == "labels":
			w.name(m.name)
			writeShown(out, x.labels, o.showsLabel)
		case m.name == "annotations":
			w.name(m.name)
			writeShown(out, x.shownAnnotations(o, reported), func(name string) bool {
				return o.showsAnnotation(name) || name == workloadv1alpha1.SpecDiffAnnotation(o.key) && !patched || name == workloadv1alpha1.SyncerViewAnnotation(o.key)
			})
		}
	}
	if x.facts.shownAsDeleted() && !x.facts.deleting {
		w.member("deletionTimestamp", x.leavingSince())
	}
	// An object that is to leave is shown as claimed in any case, so that the syncer releases it.
	if x.facts.claimed || x.facts.shownAsDeleted() {
		w.name("finalizers")
		out.WriteByte('[')
		writeString(out, o.finalizer())
		out.WriteByte(']')
	}
	w.end()
}

// shownAnnotations are the annotations, with what the target reported as it said it: where it is held is none of its business.
func (x *object) shownAnnotations(o owner, reported map[string]any) []member {
	name := workloadv1alpha1.SyncerViewAnnotation(o.key)
	shown := slices.DeleteFunc(slices.Clone(x.annotations), func(m member) bool { return m.name == name })
	if len(reported) == 0 {
		return shown
	}
	text, err := json.Marshal(reported)
	if err != nil {
		return shown // what was decoded can be encoded
	}
	return append(shown, member{name: name, value: quoted(string(text))})
}

// leavingSince is the annotation's time, or for one that cannot be read that of the object's creation.
func (x *object) leavingSince() []byte {
	since, err := time.Parse(time.RFC3339, x.facts.leaving)
	if err != nil {
		return x.facts.created
	}
	return []byte(`"` + since.UTC().Format(time.RFC3339) + `"`)
}

func writeShown(out *bytes.Buffer, all []member, shown func(string) bool) {
	w := beginObject(out)
	for _, m := range all {
		if shown(m.name) {
			w.member(m.name, m.value)
		}
	}
	w.end()
}
