package virtualworkspace

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// What a target may write on its objects takes no more room than the syncer needs: objects share what etcd and the API
// allow with everybody else who writes to them.
const (
	maxStatus               = 64 << 10
	maxStatusAnnotation     = 16 << 10
	maxConditionsAnnotation = 4 << 10
)

// change is what a client asks to change of an object in the down-sync view. Whoever makes one has refused all that no
// target may change on any object.
type change struct {
	// uid and resourceVersion are those of the object that the client means; empty for any.
	uid, resourceVersion string
	// claim says whether the target's finalizer shall be there; nil leaves it as it is.
	claim *bool
	// annotations to set, or to remove where the value is nil.
	annotations map[string]*string
	// release: the state label is to be removed.
	release bool
	// status is a merge patch of the status, or all that it shall be if whole; nil leaves it as it is.
	status json.RawMessage
	whole  bool
	// promoted: the status that is promoted by the object's rules was written already.
	promoted bool
}

// patchTarget is what a patch is about.
type patchTarget struct {
	resource schema.GroupResource
	name     string
	owner    owner
	// subresource is "" or "status".
	subresource string
	// hasStatus: the type has a status subresource.
	hasStatus bool
}

// readPatch reads the body of a patch.
func (t patchTarget) readPatch(contentType string, body []byte) (change, error) {
	switch types.PatchType(contentType) {
	case types.MergePatchType:
		return t.readMergePatch(body)
	case types.JSONPatchType:
		return t.readJSONPatch(body)
	default:
		return change{}, denied(reasonBody, "patches are %s, or %s of the whole status", types.MergePatchType, types.JSONPatchType)
	}
}

func (t patchTarget) readMergePatch(body []byte) (change, error) {
	var c change
	var patch map[string]json.RawMessage
	if err := json.Unmarshal(body, &patch); err != nil || patch == nil {
		return c, malformed(reasonBody, "the patch is not a JSON object")
	}
	for name, value := range patch {
		switch {
		case name == "metadata":
			if err := t.readMetadata(&c, value); err != nil {
				return c, err
			}
		case name == "status" && (t.subresource == "status") == t.hasStatus:
			c.status = value
		case name == "status":
			return c, denied(reasonField, "the status is written through its own path if it has one, and only then")
		default:
			return c, denied(reasonField, "a target may not write the field %q", short(name))
		}
	}
	return c, t.checkStatus(c)
}

func (t patchTarget) checkStatus(c change) error {
	if c.status == nil {
		return nil
	}
	if len(c.status) > maxStatus {
		return tooLarge(maxStatus)
	}
	var status map[string]json.RawMessage
	if err := json.Unmarshal(c.status, &status); err != nil || status == nil {
		return malformed(reasonBody, "the status is not a JSON object")
	}
	return nil
}

func (t patchTarget) readMetadata(c *change, raw []byte) error {
	var metadata map[string]json.RawMessage
	if err := json.Unmarshal(raw, &metadata); err != nil {
		return malformed(reasonBody, "metadata is not a JSON object")
	}
	for name, value := range metadata {
		var err error
		switch {
		case name == "uid":
			err = readString(value, &c.uid)
		case name == "resourceVersion":
			err = readString(value, &c.resourceVersion)
		case t.subresource != "":
			err = denied(reasonField, "only the status is written through the path of the status")
		case name == "finalizers":
			c.claim, err = t.readFinalizers(value)
		case name == "annotations":
			c.annotations, err = t.readAnnotations(value)
		case name == "labels":
			c.release, err = t.readLabels(value)
		default:
			err = denied(reasonField, "a target may not write the field \"metadata.%s\"", short(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readString(raw []byte, into *string) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return malformed(reasonBody, "uid and resourceVersion are strings")
	}
	return nil
}

// readFinalizers: the view shows the target's own finalizer, and no other.
func (t patchTarget) readFinalizers(raw []byte) (*bool, error) {
	var finalizers []string
	if err := json.Unmarshal(raw, &finalizers); err != nil {
		return nil, malformed(reasonBody, "finalizers are a list of strings")
	}
	for _, finalizer := range finalizers {
		if finalizer != t.owner.finalizer() {
			return nil, denied(reasonField, "a target may write no finalizer but %q", t.owner.finalizer())
		}
	}
	claim := len(finalizers) > 0
	return &claim, nil
}

func (t patchTarget) readAnnotations(raw []byte) (map[string]*string, error) {
	var annotations map[string]*string
	if err := json.Unmarshal(raw, &annotations); err != nil {
		return nil, malformed(reasonBody, "annotations are strings or null")
	}
	for name, value := range annotations {
		limit := 0 // may be removed, not set
		switch name {
		case workloadv1alpha1.StatusAnnotation(t.owner.key):
			limit = maxStatusAnnotation
		case workloadv1alpha1.ConditionsAnnotation(t.owner.key):
			limit = maxConditionsAnnotation
		case workloadv1alpha1.SyncerViewAnnotation(t.owner.key):
			limit = maxStatus
		case workloadv1alpha1.DeletionAnnotation(t.owner.key), workloadv1alpha1.SpecDiffAnnotation(t.owner.key), workloadv1alpha1.TraceAnnotation:
		default:
			return nil, denied(reasonField, "a target may not write the annotation %q", short(name))
		}
		switch {
		case value != nil && limit == 0:
			return nil, denied(reasonField, "a target may not set the annotation %q", name)
		case value != nil && len(*value) > limit:
			return nil, tooLarge(int64(limit))
		}
	}
	return annotations, nil
}

func (t patchTarget) readLabels(raw []byte) (release bool, err error) {
	var labels map[string]*string
	if err := json.Unmarshal(raw, &labels); err != nil {
		return false, malformed(reasonBody, "labels are strings or null")
	}
	for name, value := range labels {
		if name != t.owner.stateLabel() || value != nil {
			return false, denied(reasonField, "a target may not write the label %q", short(name))
		}
		release = true
	}
	return release, nil
}

// operation is one of a JSON Patch.
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

const statusPath = "/status"

// readJSONPatch reads the one form that is served: the whole status, after tests of which object is meant.
func (t patchTarget) readJSONPatch(body []byte) (change, error) {
	var c change
	var operations []operation
	if err := json.Unmarshal(body, &operations); err != nil {
		return c, malformed(reasonBody, "the patch is not a list of operations")
	}
	for _, operation := range operations {
		var err error
		switch {
		case operation.Op == "test" && operation.Path == "/metadata/uid":
			err = readString(operation.Value, &c.uid)
		case operation.Op == "test" && operation.Path == "/metadata/resourceVersion":
			err = readString(operation.Value, &c.resourceVersion)
		case (operation.Op == "add" || operation.Op == "replace") && operation.Path == statusPath && (t.subresource == "status") == t.hasStatus:
			c.status, c.whole = operation.Value, true
		default:
			err = denied(reasonField, "a JSON Patch may test uid and resourceVersion, and add /status")
		}
		if err != nil {
			return c, err
		}
	}
	if c.status == nil {
		return c, denied(reasonField, "a JSON Patch has to add /status")
	}
	return c, t.checkStatus(c)
}

// upstreamPatch is what to send to kcp for a change. It holds only as long as the object is as it was judged.
type upstreamPatch struct {
	contentType types.PatchType
	subresource string
	body        []byte
	// more: it is the first of two. The object is looked at anew for the second.
	more bool
}

// blindly makes the patch for the commonest change without knowing the object: the whole status of an object that is on no
// other target. Kcp tests at the time of the write that it is the same object and still this target's.
func (t patchTarget) blindly(c change, uid string) (upstreamPatch, error) {
	return t.wholeStatus(c.status,
		operation{Op: "test", Path: "/metadata/uid", Value: quoted(uid)},
		operation{Op: "test", Path: "/metadata/labels/" + pointer(t.owner.stateLabel()), Value: quoted(string(t.owner.state))})
}

func (t patchTarget) wholeStatus(status json.RawMessage, tests ...operation) (upstreamPatch, error) {
	body, err := json.Marshal(append(tests, operation{Op: "add", Path: statusPath, Value: status}))
	return upstreamPatch{contentType: types.JSONPatchType, subresource: t.subresource, body: body}, err
}

func quoted(text string) json.RawMessage {
	var out bytes.Buffer
	writeString(&out, text)
	return out.Bytes()
}

// pointer escapes a name for a JSON Pointer.
func pointer(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// translate makes the patch for an object as it is now, nil if there is nothing to change. The client has not seen what
// others wrote on it; that stays.
func (t patchTarget) translate(c change, x *object) (*upstreamPatch, error) {
	f := x.facts
	switch {
	case !f.mine():
		return nil, notFound(t.resource, t.name)
	case c.uid != "" && c.uid != f.uid:
		return nil, conflict(t.resource, t.name, "the object with this name is another one: its UID has changed")
	case c.resourceVersion != "" && c.resourceVersion != f.resourceVersion:
		return nil, conflict(t.resource, t.name, "the object has been modified; please apply your changes to the latest version and try again")
	case c.status != nil && !f.assigned:
		return nil, denied(reasonNotAssigned, "the object is no longer assigned to this target")
	}
	metadata, err := t.metadata(c, x)
	if err != nil {
		return nil, err
	}
	if c.status != nil && f.ruled() {
		return nil, denied(reasonField, "what a target reports of an object with summarizing rules goes to the annotation %q", workloadv1alpha1.SyncerViewAnnotation(t.owner.key))
	}
	if c.status != nil && f.others {
		return t.statusAmongOthers(c, f)
	}
	if c.status != nil && c.whole {
		patch, err := t.wholeStatus(c.status,
			operation{Op: "test", Path: "/metadata/uid", Value: quoted(f.uid)},
			operation{Op: "test", Path: "/metadata/resourceVersion", Value: quoted(f.resourceVersion)})
		return &patch, err
	}
	own, status, err := t.fields(c, x)
	switch {
	case err != nil:
		return nil, err
	case len(status) > 0 && t.hasStatus && !c.promoted:
		return t.merge(map[string]any{}, status, f, statusSubresource, true)
	case len(status) > 0 && !t.hasStatus:
		maps.Copy(own, status)
	}
	if held, ok := own["metadata"].(map[string]any); ok {
		annotations, _ := metadata["annotations"].(map[string]any)
		metadata["annotations"] = withAll(annotations, held["annotations"].(map[string]any))
	}
	delete(own, "metadata")
	if c.status != nil {
		own = map[string]any{"status": c.status}
	}
	if len(metadata)+len(own) == 0 {
		return nil, nil
	}
	return t.merge(metadata, own, f, t.subresource, false)
}

const statusSubresource = "status"

func withAll(names, more map[string]any) map[string]any {
	all := make(map[string]any, len(names)+len(more))
	maps.Copy(all, more)
	maps.Copy(all, names)
	return all
}

// fields are what the target reports of an object with summarizing rules: merge patches of the object and of its status that hold
// it as the rules say. Who else has the object is not the target's to know, so it is decided here whether it is promoted.
func (t patchTarget) fields(c change, x *object) (own, status map[string]any, err error) {
	text := c.annotations[workloadv1alpha1.SyncerViewAnnotation(t.owner.key)]
	if text == nil {
		return map[string]any{}, nil, nil
	}
	if !x.facts.ruled() {
		return nil, nil, denied(reasonField, "the object has no annotation %s that says what its targets report", workloadv1alpha1.SummarizingAnnotation)
	}
	values, err := workloadv1alpha1.ReadSyncerView(*text)
	if err != nil {
		return nil, nil, malformed(reasonBody, "%v", err)
	}
	for _, value := range values {
		if value == workloadv1alpha1.PromotedField {
			return nil, nil, denied(reasonField, "a target reports values; what is promoted is not its to say")
		}
	}
	decoded, err := x.decode()
	if err != nil {
		return nil, nil, err
	}
	own, status, err = x.facts.rules.Keep(decoded.Object, t.owner.key, values, !x.facts.others)
	if err != nil {
		return nil, nil, denied(reasonField, "%v", err)
	}
	return own, status, nil
}

// merge makes a merge patch that holds for the object as it was read, and for no later version.
func (t patchTarget) merge(metadata, content map[string]any, f facts, subresource string, more bool) (*upstreamPatch, error) {
	metadata["uid"], metadata["resourceVersion"] = f.uid, f.resourceVersion
	content = withAll(map[string]any{"metadata": metadata}, content)
	body, err := json.Marshal(content)
	return &upstreamPatch{contentType: types.MergePatchType, subresource: subresource, body: body, more: more}, err
}

// metadata are the changes of the real object's metadata.
func (t patchTarget) metadata(c change, x *object) (map[string]any, error) {
	f, changes, annotations := x.facts, map[string]any{}, map[string]any{}
	for name, value := range c.annotations {
		switch {
		case value != nil && !f.assigned:
			return nil, denied(reasonNotAssigned, "the object is no longer assigned to this target")
		case value != nil && name == workloadv1alpha1.SyncerViewAnnotation(t.owner.key): // see fields
		case value != nil:
			annotations[name] = *value
		case t.removable(name, x):
			annotations[name] = nil
		}
	}
	released := c.claim != nil && !*c.claim && (f.claimed || f.shownAsDeleted())
	switch {
	case released:
		if f.claimed {
			changes["finalizers"] = slices.DeleteFunc(slices.Clone(x.finalizers), func(name string) bool { return name == t.owner.finalizer() })
		}
		maps.Copy(annotations, t.traces(x))
	case c.claim != nil && *c.claim && !f.claimed && !f.assigned:
		return nil, denied(reasonNotAssigned, "the object is no longer assigned to this target")
	case c.claim != nil && *c.claim && !f.claimed && !f.shownAsDeleted():
		changes["finalizers"] = append(slices.Clone(x.finalizers), t.owner.finalizer())
	}
	if f.assigned && (released && f.leaving != "" || c.release) {
		if !released || f.leaving == "" {
			return nil, denied(reasonField, "a target takes off its state label when it releases an object that was asked to leave, and only then")
		}
		changes["labels"] = map[string]any{t.owner.stateLabel(): nil}
	}
	if len(annotations) > 0 {
		changes["annotations"] = annotations
	}
	return changes, nil
}

// removable: what coordinators say to the target goes with the release only.
func (t patchTarget) removable(name string, x *object) bool {
	switch name {
	case workloadv1alpha1.DeletionAnnotation(t.owner.key), workloadv1alpha1.SpecDiffAnnotation(t.owner.key):
		return false
	}
	return x.annotated(name)
}

// traces are what is left of the target on an object that it releases, and goes. What coordinators said stays on an object
// that does not leave: it may be synced again.
func (t patchTarget) traces(x *object) map[string]any {
	names := []string{workloadv1alpha1.StatusAnnotation(t.owner.key), workloadv1alpha1.ConditionsAnnotation(t.owner.key), workloadv1alpha1.SyncerViewAnnotation(t.owner.key)}
	if x.facts.leaving != "" {
		names = append(names, workloadv1alpha1.DeletionAnnotation(t.owner.key),
			workloadv1alpha1.SpecDiffAnnotation(t.owner.key), workloadv1alpha1.SoftFinalizersAnnotation(t.owner.key))
	}
	gone := map[string]any{}
	for _, name := range names {
		if x.annotated(name) {
			gone[name] = nil
		}
	}
	return gone
}

// statusAmongOthers writes the status to the target's annotation: somebody else makes one of all targets'.
func (t patchTarget) statusAmongOthers(c change, f facts) (*upstreamPatch, error) {
	status := []byte(c.status)
	if !c.whole {
		before := f.status
		if !json.Valid([]byte(before)) || !strings.HasPrefix(strings.TrimSpace(before), "{") {
			before = "{}"
		}
		merged, err := jsonpatch.MergePatch([]byte(before), status)
		if err != nil {
			return nil, malformed(reasonBody, "the patch of the status cannot be merged")
		}
		status = merged
	}
	if len(status) > maxStatusAnnotation {
		return nil, tooLarge(maxStatusAnnotation)
	}
	if string(status) == f.status {
		return nil, nil
	}
	return t.merge(map[string]any{
		"annotations": map[string]any{workloadv1alpha1.StatusAnnotation(t.owner.key): string(status)},
	}, nil, f, "", false)
}
