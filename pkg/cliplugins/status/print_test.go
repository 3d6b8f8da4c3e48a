package status

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sigs.k8s.io/yaml"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestPrint compares what is printed for testdata/*.yaml with testdata/<format>.txt.
func TestPrint(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, format := range map[string]Format{"table": Table, "wide": Wide, "json": JSON, "yaml": YAML} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Print(&out, given(t), format, now); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func given(t *testing.T) *Status {
	t.Helper()
	return &Status{
		SyncTargets: read[workloadv1alpha1.SyncTargetList](t, "synctargets.yaml").Items,
		Locations:   read[schedulingv1alpha1.LocationList](t, "locations.yaml").Items,
		Placements:  read[schedulingv1alpha1.PlacementList](t, "placements.yaml").Items,
	}
}

func read[T any](t *testing.T, file string) *T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	list := new(T)
	if err := yaml.UnmarshalStrict(raw, list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestNothingIsPrintedOfWhatIsNotThere(t *testing.T) {
	var out bytes.Buffer
	only := &Status{Placements: given(t).Placements[:1]}
	if err := Print(&out, only, Table, time.Now()); err != nil || strings.Contains(out.String(), "SYNCTARGET") || only.Empty() {
		t.Errorf("got %v\n%s", err, out.String())
	}
	if !(&Status{}).Empty() {
		t.Error("nothing is not empty")
	}
}

func TestParseFormat(t *testing.T) {
	for value, valid := range map[string]bool{"": true, "wide": true, "json": true, "yaml": true, "table": false, "JSON": false} {
		_, err := ParseFormat(value)
		if (err == nil) != valid || err != nil && !strings.Contains(err.Error(), "--output="+value) {
			t.Errorf("%q: got %v, want valid %t", value, err, valid)
		}
	}
}
