package coordination

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	jsonpatch "github.com/evanphx/json-patch/v5"
)

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		what     string
		replicas *int64
		keys     []string
		want     map[string]int64
	}{
		{"equal shares", new(int64(4)), []string{"a", "b"}, map[string]int64{"a": 2, "b": 2}},
		{"the remainder goes to the first, in whatever order they are given", new(int64(5)), []string{"c", "a", "b"}, map[string]int64{"a": 3, "b": 1, "c": 1}},
		{"fewer replicas than targets", new(int64(1)), []string{"a", "b"}, map[string]int64{"a": 1, "b": 0}},
		{"not said is one", nil, []string{"b", "a"}, map[string]int64{"a": 1, "b": 0}},
		{"none", new(int64(0)), []string{"a", "b"}, map[string]int64{"a": 0, "b": 0}},
		{"a single target has all", new(int64(7)), []string{"a"}, map[string]int64{"a": 7}},
		{"nobody to share", new(int64(7)), nil, map[string]int64{}},
		{"less than none is none", new(int64(-3)), []string{"a", "b"}, map[string]int64{"a": 0, "b": 0}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Split(tc.replicas, tc.keys)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSpecDiff(t *testing.T) {
	for _, tc := range []struct{ what, patch, with, without string }{
		{"a share of its own", "", `[{"op":"add","path":"/replicas","value":2}]`, ""},
		{"that is there already stays as it was written", ` [{"op":"replace", "path":"/replicas", "value":2}]`, ` [{"op":"replace", "path":"/replicas", "value":2}]`, ""},
		{"another share is replaced", `[{"op":"add","path":"/replicas","value":7}]`, `[{"op":"add","path":"/replicas","value":2}]`, ""},
		{
			"what others have the target do is kept, and does not win", `[{"op":"remove","path":"/paused"},{"op":"remove","path":"/replicas"}]`,
			`[{"op":"remove","path":"/paused"},{"op":"add","path":"/replicas","value":2}]`, `[{"op":"remove","path":"/paused"}]`,
		},
		{"nothing of ours", ` [{"op":"remove","path":"/paused"}]`, `[{"op":"remove","path":"/paused"},{"op":"add","path":"/replicas","value":2}]`, ` [{"op":"remove","path":"/paused"}]`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			with, err := WithReplicas(tc.patch, 2)
			if diff := cmp.Diff(tc.with, with); diff != "" || err != nil {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
			without, err := WithoutReplicas(tc.patch)
			if diff := cmp.Diff(tc.without, without); diff != "" || err != nil {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
	if _, err := WithReplicas("{", 1); err == nil {
		t.Error("nonsense was taken for a patch")
	}
	if _, err := WithoutReplicas("{}"); err == nil {
		t.Error("nonsense was taken for a patch")
	}
}

func TestMerge(t *testing.T) {
	for _, tc := range []struct {
		what, resource string
		statuses       []string
		want           string
	}{
		{
			"counts are summed, the generation is the one that all have seen", "deployments.apps",
			[]string{`{"replicas":2,"readyReplicas":1,"unavailableReplicas":1,"observedGeneration":4,"collisionCount":3}`, `{"replicas":1,"readyReplicas":1,"observedGeneration":3}`},
			`{"replicas":3,"readyReplicas":2,"unavailableReplicas":1,"observedGeneration":3,"collisionCount":3}`,
		},
		{
			"a condition holds if it holds everywhere, and trouble if it is anywhere", "deployments.apps",
			[]string{
				`{"conditions":[{"type":"Available","status":"True","reason":"a"},{"type":"ReplicaFailure","status":"True","reason":"Quota"}]}`,
				`{"conditions":[{"type":"Progressing","status":"True"},{"type":"Available","status":"False","reason":"b"},{"type":"ReplicaFailure","status":"False"}]}`,
			},
			`{"conditions":[{"type":"Available","status":"False","reason":"b"},{"type":"ReplicaFailure","status":"True","reason":"Quota"},{"type":"Progressing","status":"True"}]}`,
		},
		{
			"who has said nothing yet has nothing to be counted", "deployments.apps",
			[]string{`{"replicas":2,"conditions":[{"type":"Available","status":"True"}]}`, ``},
			`{"replicas":2,"conditions":[{"type":"Available","status":"True"}]}`,
		},
		{
			"but a Job is not complete before it is so everywhere", "jobs.batch",
			[]string{`{"succeeded":1,"conditions":[{"type":"Complete","status":"True"}]}`, ``},
			`{"succeeded":1}`,
		},
		{
			"nor while one still runs", "jobs.batch",
			[]string{`{"succeeded":1,"conditions":[{"type":"Complete","status":"True"}]}`, `{"active":1}`},
			`{"succeeded":1,"active":1}`,
		},
		{
			"it has failed if it failed anywhere", "jobs.batch",
			[]string{`{"succeeded":1,"conditions":[{"type":"Complete","status":"True"}]}`, `{"failed":1,"conditions":[{"type":"Failed","status":"True"}]}`},
			`{"succeeded":1,"failed":1,"conditions":[{"type":"Failed","status":"True"}]}`,
		},
		{
			"addresses come together, each once", "services",
			[]string{`{"loadBalancer":{"ingress":[{"ip":"1.1.1.1"},{"ip":"2.2.2.2"}]}}`, `{"loadBalancer":{"ingress":[{"ip":"2.2.2.2"},{"hostname":"h"}]}}`, `{"loadBalancer":{}}`},
			`{"loadBalancer":{"ingress":[{"ip":"1.1.1.1"},{"ip":"2.2.2.2"},{"hostname":"h"}]}}`,
		},
		{"without addresses there are none", "services", []string{`{"loadBalancer":{}}`, ``}, `{"loadBalancer":{}}`},
		{
			"of what it does not know, the first is believed", "widgets.example.com",
			[]string{``, `{"phase":"Up","size":3}`, `{"phase":"Down","size":4,"extra":true}`},
			`{"phase":"Up","size":3,"extra":true}`,
		},
		{"nobody has said anything", "deployments.apps", []string{``, ``}, `{}`},
		{"nonsense is no condition", "deployments.apps", []string{`{"conditions":[1,null,{"status":"True"}]}`, `{"conditions":"x"}`}, `{}`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			statuses := make([]map[string]any, len(tc.statuses))
			for i, text := range tc.statuses {
				statuses[i] = object(t, text)
			}
			got := Merge(schema.ParseGroupResource(tc.resource), statuses)
			if diff := cmp.Diff(object(t, tc.want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for i, text := range tc.statuses {
				if diff := cmp.Diff(object(t, text), statuses[i]); diff != "" {
					t.Errorf("a status was modified: %s", diff)
				}
			}
		})
	}
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	if text == "" {
		return nil
	}
	var o map[string]any
	if err := utiljson.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// FuzzReplicas: the shares add up, differ by no more than the remainder, and the patch that is made of a patch gives them.
func FuzzReplicas(f *testing.F) {
	f.Add(int64(5), uint8(3), `[{"op":"remove","path":"/paused"}]`)
	f.Add(int64(0), uint8(1), "")
	f.Add(int64(1)<<62, uint8(200), `[{"op":"test","path":"/replicas","value":null}]`)
	f.Fuzz(func(t *testing.T, replicas int64, targets uint8, patch string) {
		keys := make([]string, targets)
		for i := range keys {
			keys[i] = string(rune('a' + i))
		}
		total := int64(0)
		for _, share := range Split(&replicas, keys) {
			total += share
		}
		if targets > 0 && total != max(replicas, 0) {
			t.Fatalf("%d of %d are shared", total, replicas)
		}
		with, err := WithReplicas(patch, replicas)
		if err != nil {
			return
		}
		if again, err := WithReplicas(with, replicas); err != nil || again != with {
			t.Fatalf("%s became %s, %v", with, again, err)
		}
		checkLastWord(t, with, replicas)
	})
}

// checkLastWord applies the last operation, which is the one that is ours.
func checkLastWord(t *testing.T, patch string, replicas int64) {
	t.Helper()
	var operations []json.RawMessage
	if err := json.Unmarshal([]byte(patch), &operations); err != nil {
		t.Fatal(err)
	}
	last, err := json.Marshal(operations[len(operations)-1:])
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := jsonpatch.DecodePatch(last)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := decoded.Apply([]byte(`{"replicas":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := object(t, string(patched)); got["replicas"] != replicas {
		t.Fatalf("%s gives %v", patch, got)
	}
}
