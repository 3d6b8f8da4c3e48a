package main

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

func TestWithoutATerminalThereArePlainLines(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out, false)
	if err := s.during("Chapter", func() error { s.say("one\n\ntwo\n"); return nil }); err != nil {
		t.Fatal(err)
	}
	times := regexp.MustCompile(`[0-9.]+ ?s`)
	want := "\n   T  Chapter\n   T    one\n   T\n   T    two\n   T    done in T\n"
	if got := times.ReplaceAllString(out.String(), "T"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestATerminalShowsWhatIsWaitedFor(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out, true)
	failure := errors.New("no luck")
	if err := s.during("Chapter", func() error { s.say("one"); return failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if got := out.String(); !strings.Contains(got, "…") || strings.Contains(got, "done") || !strings.HasSuffix(got, clearLine) {
		t.Errorf("got %q", got)
	}
}

func TestAbridged(t *testing.T) {
	got := abridged("created    APIResourceSchema x\ncreated    APIExport y\n           accepted: the provider may z\n")
	if got != "created    APIExport y" {
		t.Errorf("got %q", got)
	}
}

func TestHops(t *testing.T) {
	available := func(generation, observed, replicas int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"generation": generation},
			"status": map[string]any{
				"observedGeneration": observed, "availableReplicas": replicas,
				"conditions": []any{map[string]any{"type": "Available", "status": "True"}},
			},
		}}
	}
	for name, tc := range map[string]struct {
		hop    hop
		event  watch.EventType
		object *unstructured.Unstructured
		want   bool
	}{
		"available":                     {hop{reached: isAvailable(2)}, watch.Modified, available(3, 3, 2), true},
		"available before the change":   {hop{reached: isAvailable(2)}, watch.Modified, available(3, 2, 2), false},
		"not all are available":         {hop{reached: isAvailable(2)}, watch.Modified, available(3, 3, 1), false},
		"no status yet":                 {hop{reached: isAvailable(2)}, watch.Added, &unstructured.Unstructured{}, false},
		"there, when it shall be gone":  {hop{reached: gone}, watch.Modified, available(1, 1, 1), false},
		"gone":                          {hop{reached: gone}, watch.Deleted, available(1, 1, 1), true},
		"gone, when it shall be there":  {hop{reached: exists}, watch.Deleted, available(1, 1, 1), false},
		"there, when it shall be there": {hop{reached: exists}, watch.Added, available(1, 1, 1), true},
	} {
		if got := tc.hop.isReached(tc.event, tc.object); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

func TestExamplesAreReadWithTheirTypes(t *testing.T) {
	t.Chdir("../..")
	objects, err := readExamples("web.yaml")
	if err != nil {
		t.Fatal(err)
	}
	last := objects[len(objects)-1]
	if last.GetKind() != "Deployment" || number(last, "spec", "replicas") != 2 {
		t.Errorf("the last is a %s with %d replicas", last.GetKind(), number(last, "spec", "replicas"))
	}
	if _, err := readExamples("missing.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
