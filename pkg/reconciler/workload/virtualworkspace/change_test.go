package virtualworkspace

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var aDeployment = patchTarget{resource: schema.GroupResource{Group: "apps", Resource: "deployments"}, name: "x", owner: me, hasStatus: true}

func code(err error) int {
	var refused *refusal
	if errors.As(err, &refused) {
		return int(refused.status.Code)
	}
	return 0
}

// What is sent to kcp for what the target asks, seen the object as it is stored.
func TestChanges(t *testing.T) {
	const version = `uid: u, resourceVersion: "7"`
	const rules = `RULES: '[{"fieldPath":"status","promoteToUpstream":true},{"fieldPath":"spec.x","promoteToUpstream":true}]'`
	for _, tc := range []struct {
		what, object, patch string
		status              bool // the patch goes to the status
		want                string
		code                int
	}{
		{
			what: "a claim is added to the finalizers of others", object: `{` + version + `, labels: {STATE-mine: Sync}, finalizers: [keep]}`,
			patch: `{metadata: {finalizers: [CLAIM-mine]}}`, want: `{metadata: {` + version + `, finalizers: [keep, CLAIM-mine]}}`,
		},
		{
			what: "a claim that is there is no change", object: `{` + version + `, labels: {STATE-mine: Sync}, finalizers: [CLAIM-mine]}`,
			patch: `{metadata: {finalizers: [CLAIM-mine]}}`,
		},
		{
			what: "an object that is to leave is not claimed any more", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {LEAVE-mine: "2030-01-01T00:00:00Z"}}`,
			patch: `{metadata: {finalizers: [CLAIM-mine]}}`,
		},
		{
			what:   "a release leaves the finalizers of others, and takes off what the target wrote",
			object: `{` + version + `, labels: {STATE-mine: Sync}, finalizers: [keep, CLAIM-mine, CLAIM-other], annotations: {CONDITIONS-mine: "[]", STATUS-mine: "{}", STATUS-other: "{}", DIFF-mine: "[]"}}`,
			patch:  `{metadata: {finalizers: []}}`,
			want:   `{metadata: {` + version + `, finalizers: [keep, CLAIM-other], annotations: {CONDITIONS-mine: null, STATUS-mine: null}}}`,
		},
		{
			what:   "when the object was asked to leave, the state goes too",
			object: `{` + version + `, labels: {STATE-mine: Sync, STATE-other: Sync}, finalizers: [CLAIM-mine], annotations: {LEAVE-mine: "2030-01-01T00:00:00Z", DIFF-mine: "[]"}}`,
			patch:  `{metadata: {finalizers: null}}`,
			want:   `{metadata: {` + version + `, finalizers: [], labels: {STATE-mine: null}, annotations: {LEAVE-mine: null, DIFF-mine: null}}}`,
		},
		{
			what: "also when it was never claimed", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {LEAVE-mine: "2030-01-01T00:00:00Z"}}`,
			patch: `{metadata: {finalizers: []}}`, want: `{metadata: {` + version + `, labels: {STATE-mine: null}, annotations: {LEAVE-mine: null}}}`,
		},
		{
			what: "a claim on an object that lost its label is taken off", object: `{` + version + `, finalizers: [CLAIM-mine]}`,
			patch: `{metadata: {finalizers: []}}`, want: `{metadata: {` + version + `, finalizers: []}}`,
		},
		{
			what: "and nothing else", object: `{` + version + `, finalizers: [CLAIM-mine]}`,
			patch: `{metadata: {annotations: {CONDITIONS-mine: "[]"}}}`, code: 403,
		},
		{
			what: "nor its status", object: `{` + version + `, finalizers: [CLAIM-mine]}`,
			patch: `{status: {a: 1}}`, status: true, code: 403,
		},
		{
			what: "an annotation that is not there need not be removed", object: `{` + version + `, labels: {STATE-mine: Sync}}`,
			patch: `{metadata: {annotations: {CONDITIONS-mine: null, LEAVE-mine: null}}}`,
		},
		{
			what: "a trace that is used goes with the claim", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {TRACE: t}}`,
			patch: `{metadata: {finalizers: [CLAIM-mine], annotations: {TRACE: null}}}`, want: `{metadata: {` + version + `, finalizers: [CLAIM-mine], annotations: {TRACE: null}}}`,
		},
		{
			what: "a request to leave is not declined", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {LEAVE-mine: "2030-01-01T00:00:00Z"}}`,
			patch: `{metadata: {annotations: {LEAVE-mine: null}}}`,
		},
		{
			what: "another target's object does not exist", object: `{` + version + `, labels: {STATE-other: Sync}}`,
			patch: `{metadata: {finalizers: []}}`, code: 404,
		},
		{
			what: "another version is a conflict", object: `{` + version + `, labels: {STATE-mine: Sync}}`,
			patch: `{metadata: {resourceVersion: "6", finalizers: []}}`, code: 409,
		},
		{
			what: "a status is merged as it was sent", object: `{` + version + `, labels: {STATE-mine: Sync}}`,
			patch: `{status: {a: 1, b: null}}`, status: true, want: `{metadata: {` + version + `}, status: {a: 1, b: null}}`,
		},
		{
			what: "among others it goes to the target's annotation", object: `{` + version + `, labels: {STATE-mine: Sync, STATE-other: Sync}, annotations: {STATUS-mine: '{"a":1,"b":2}'}}`,
			patch: `{status: {a: 5, b: null}}`, status: true, want: `{metadata: {` + version + `, annotations: {STATUS-mine: '{"a":5}'}}}`,
		},
		{
			what: "whatever was there", object: `{` + version + `, labels: {STATE-mine: Sync, STATE-other: Sync}, annotations: {STATUS-mine: 'nonsense'}}`,
			patch: `{status: {a: 5}}`, status: true, want: `{metadata: {` + version + `, annotations: {STATUS-mine: '{"a":5}'}}}`,
		},
		{
			what: "what is reported by an object's own rules is promoted, the status first", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {` + rules + `}}`,
			patch: `{metadata: {annotations: {VIEW-mine: '{"status":{"a":1},"spec.x":7}'}}}`, want: `{metadata: {` + version + `}, status: {a: 1}}`,
		},
		{
			what: "then the rest", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {` + rules + `}}`,
			patch: `{metadata: {annotations: {VIEW-mine: '{"spec.x":7}', CONDITIONS-mine: "[]"}}}`,
			want:  `{metadata: {` + version + `, annotations: {VIEW-mine: '{"spec.x":"##promoted##"}', CONDITIONS-mine: "[]"}}, spec: {x: 7}}`,
		},
		{
			what: "among others it is held", object: `{` + version + `, labels: {STATE-mine: Sync, STATE-other: Sync}, annotations: {` + rules + `}}`,
			patch: `{metadata: {annotations: {VIEW-mine: '{"status":{"a":1},"spec.x":7}'}}}`, want: `{metadata: {` + version + `, annotations: {VIEW-mine: '{"spec.x":7,"status":{"a":1}}'}}}`,
		},
		{
			what: "fields that the rules do not name are not reported", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {` + rules + `}}`,
			patch: `{metadata: {annotations: {VIEW-mine: '{"spec.y":7}'}}}`, code: 403,
		},
		{
			what: "nor what is promoted", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {` + rules + `}}`,
			patch: `{metadata: {annotations: {VIEW-mine: '{"spec.x":"##promoted##"}'}}}`, code: 403,
		},
		{
			what: "nor anything without rules", object: `{` + version + `, labels: {STATE-mine: Sync}}`,
			patch: `{metadata: {annotations: {VIEW-mine: '{"status":{}}'}}}`, code: 403,
		},
		{
			what: "nor a status past them", object: `{` + version + `, labels: {STATE-mine: Sync}, annotations: {` + rules + `}}`,
			patch: `{status: {a: 5}}`, status: true, code: 403,
		},
		{
			what: "nor by a target that has lost the object", object: `{` + version + `, finalizers: [CLAIM-mine], annotations: {` + rules + `}}`,
			patch: `{metadata: {annotations: {VIEW-mine: '{"status":{}}'}}}`, code: 403,
		},
	} {
		target := aDeployment
		if tc.status {
			target.subresource = "status"
		}
		found, err := me.take(fromYAML(t, `{metadata: `+tc.object+`}`))
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := target.readPatch(string(types.MergePatchType), fromYAML(t, tc.patch))
		if err != nil {
			t.Errorf("%s: %v", tc.what, err)
			continue
		}
		patch, err := target.translate(wanted, found)
		if code(err) != tc.code {
			t.Errorf("%s: %v, want code %d", tc.what, err, tc.code)
			continue
		}
		if (patch == nil) != (tc.want == "") {
			t.Errorf("%s: %+v is sent, want %s", tc.what, patch, tc.want)
			continue
		}
		if patch == nil {
			continue
		}
		if diff := cmp.Diff(decoded(t, fromYAML(t, tc.want)), decoded(t, patch.body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
}

func TestWholeStatus(t *testing.T) {
	target := aDeployment
	target.subresource = "status"
	wanted, err := target.readPatch(string(types.JSONPatchType), []byte(`[{"op":"add","path":"/status","value":{"a":1}}]`))
	if err != nil || !wanted.whole {
		t.Fatal(wanted, err)
	}
	patch, err := target.blindly(wanted, "u")
	if err != nil {
		t.Fatal(err)
	}
	want := `[{op: test, path: /metadata/uid, value: u}, {op: test, path: /metadata/labels/` + pointer(named.Replace("STATE-mine")) + `, value: Sync}, {op: add, path: /status, value: {a: 1}}]`
	if diff := cmp.Diff(decoded(t, fromYAML(t, want)), decoded(t, patch.body)); diff != "" {
		t.Errorf("sent without a look (-want +got):\n%s", diff)
	}
	found, err := me.take(fromYAML(t, `{metadata: {uid: u, resourceVersion: "7", labels: {STATE-mine: Sync, STATE-other: Sync}, annotations: {STATUS-mine: '{"b":1}'}}}`))
	if err != nil {
		t.Fatal(err)
	}
	patch2, err := target.translate(wanted, found)
	if err != nil || !strings.Contains(string(patch2.body), `{\"a\":1}`) {
		t.Errorf("among others: %+v, %v", patch2, err)
	}
}

// A patch that is let through has nothing in it but what a target may write, whatever it was.
func FuzzPatch(f *testing.F) {
	for _, body := range []string{
		`{"metadata":{"finalizers":["x"]}}`, `{"status":{"a":1}}`, `{"metadata":{"annotations":{"a":null}},"spec":{}}`,
		`[{"op":"add","path":"/status","value":{}}]`, `{"metadata":{"labels":null,"uid":"u"}}`, `{"STATUS":{},"status":{"a":{"b":null}}}`,
	} {
		f.Add(body, "", false)
		f.Add(body, "status", true)
	}
	stored := []byte(named.Replace(`{"metadata":{"uid":"u","resourceVersion":"7","labels":{"STATE-mine":"Sync"},"finalizers":["keep"]},"spec":{"a":1}}`))
	f.Fuzz(func(t *testing.T, body, subresource string, list bool) {
		if subresource != "status" {
			subresource = ""
		}
		target := aDeployment
		target.subresource = subresource
		kind := types.MergePatchType
		if list {
			kind = types.JSONPatchType
		}
		wanted, err := target.readPatch(string(kind), []byte(body))
		if err != nil {
			return
		}
		found, err := me.take(stored)
		if err != nil {
			t.Fatal(err)
		}
		patch, err := target.translate(wanted, found)
		if err != nil || patch == nil || patch.contentType != types.MergePatchType {
			return
		}
		var sent map[string]json.RawMessage
		var metadata map[string]json.RawMessage
		if json.Unmarshal(patch.body, &sent) != nil || json.Unmarshal(sent["metadata"], &metadata) != nil {
			t.Fatalf("%q is sent as %q", body, patch.body)
		}
		delete(sent, "metadata")
		delete(sent, "status")
		for _, name := range []string{"uid", "resourceVersion", "finalizers", "annotations", "labels"} {
			delete(metadata, name)
		}
		if len(sent) > 0 || len(metadata) > 0 {
			t.Fatalf("%q is sent as %q", body, patch.body)
		}
	})
}
