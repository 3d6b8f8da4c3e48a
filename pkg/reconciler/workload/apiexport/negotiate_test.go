package apiexport

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
)

const (
	small  = `"size":{"type":"integer"}`
	color  = `"size":{"type":"integer"},"color":{"type":"string"}`
	weight = `"size":{"type":"integer"},"weight":{"type":"integer"}`
	texts  = `"size":{"type":"string"}`
)

func describe(t *testing.T, spec string) Description {
	t.Helper()
	s, err := decodeSchema([]byte(`{"type":"object","properties":{"spec":{"type":"object","properties":{` + spec + `}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	return Description{
		Scope:  apiextensionsv1.NamespaceScoped,
		Names:  apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
		Schema: s,
	}
}

func TestNegotiate(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	served := func(name, version, spec string) Import {
		at = at.Add(time.Minute)
		return Import{Name: name, Version: version, Created: at, Description: describe(t, spec)}
	}
	offered := func(version, spec string) *Offer { return &Offer{Version: version, Description: describe(t, spec)} }
	installed := func(version, spec string) *Offer {
		o := offered(version, spec)
		o.Installed = true
		return o
	}
	broken := served("broken", "v1", small)
	broken.Invalid = errors.New("not a schema")
	clusterWide := served("wide", "v1", small)
	clusterWide.Scope, clusterWide.Created = apiextensionsv1.ClusterScoped, at.Add(time.Hour)

	for _, test := range []struct {
		name string
		Observed
		// ask: nothing is decided before it is known whether there are objects.
		ask bool
		// offer is the version and the fields of spec that tenants are offered; empty for nothing.
		offer string
		// published and compatible are reasons by version; verdicts are reasons and messages by import.
		published, compatible, verdicts map[string]string
	}{{
		name:       "what one cluster serves is offered",
		Observed:   Observed{Imports: []Import{served("a", "v1", color)}},
		offer:      "v1 color,size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}, {
		name:       "what several serve has the fields that all know",
		Observed:   Observed{Imports: []Import{served("a", "v1", color), served("b", "v1", weight)}},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll", "b": "AcceptsAll"},
	}, {
		name:       "a cluster that has nothing in common with the older ones is left out, and the field is named",
		Observed:   Observed{Imports: []Import{served("a", "v1", color), served("b", "v1", texts), served("c", "v1", small)}},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "SomeIncompatible: b: spec.size is offered as integer, but is string"},
		verdicts:   map[string]string{"a": "AcceptsAll", "b": "Incompatible: spec.size is offered as integer, but is string", "c": "AcceptsAll"},
	}, {
		name:       "a cluster that has it in no namespace is left out",
		Observed:   Observed{Imports: []Import{served("a", "v1", small), clusterWide}},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "SomeIncompatible"},
		verdicts:   map[string]string{"a": "AcceptsAll", "wide": "Incompatible: scope is offered as Namespaced, but is Cluster"},
	}, {
		name:       "a schema that cannot be read is left out",
		Observed:   Observed{Imports: []Import{broken, served("a", "v1", small)}},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "SomeIncompatible"},
		verdicts:   map[string]string{"a": "AcceptsAll", "broken": "InvalidSchema: not a schema"},
	}, {
		name:       "what is offered becomes wider without asking",
		Observed:   Observed{Imports: []Import{served("a", "v1", color)}, Offered: offered("v1", small)},
		offer:      "v1 color,size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}, {
		name:     "before it becomes narrower it is asked whether it is used",
		Observed: Observed{Imports: []Import{served("a", "v1", small)}, Offered: offered("v1", color)},
		ask:      true,
	}, {
		name:       "what is used does not become narrower, and the field is named",
		Observed:   Observed{Imports: []Import{served("a", "v1", small), served("b", "v1", color)}, Offered: offered("v1", color), Used: new(true)},
		offer:      "v1 color,size",
		published:  map[string]string{"v1": "NarrowingHeldBack: some workspace has objects of it, so that tenants are still offered more than the clusters have in common: spec.color is not known"},
		compatible: map[string]string{"v1": "Negotiated: a: spec.color is not known"},
		verdicts:   map[string]string{"a": "Narrower: spec.color is not known", "b": "AcceptsAll"},
	}, {
		name:       "what is not used becomes narrower",
		Observed:   Observed{Imports: []Import{served("a", "v1", small)}, Offered: offered("v1", color), Used: new(false)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}, {
		name:       "an older cluster that turns away from what is offered is left out, not the others",
		Observed:   Observed{Imports: []Import{served("a", "v1", texts), served("b", "v1", small)}, Offered: offered("v1", small)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published"},
		compatible: map[string]string{"v1": "SomeIncompatible"},
		verdicts:   map[string]string{"a": "Incompatible: spec.size is offered as integer, but is string", "b": "AcceptsAll"},
	}, {
		name:       "when all turn away, what is used stays",
		Observed:   Observed{Imports: []Import{served("a", "v1", texts)}, Offered: offered("v1", small), Used: new(true)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "NarrowingHeldBack"},
		compatible: map[string]string{"v1": "SomeIncompatible"},
		verdicts:   map[string]string{"a": "Incompatible"},
	}, {
		name:     "before it goes it is asked whether it is used",
		Observed: Observed{Offered: offered("v1", small)},
		ask:      true,
	}, {
		name:       "what no cluster serves any more stays while it is used",
		Observed:   Observed{Offered: offered("v1", small), Used: new(true)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published: no cluster serves it now"},
		compatible: map[string]string{"v1": "NoImports"},
	}, {
		name:       "and goes when it is not",
		Observed:   Observed{Offered: offered("v1", small), Used: new(false)},
		published:  map[string]string{"v1": "NothingToOffer"},
		compatible: map[string]string{"v1": "NoImports"},
	}, {
		name:       "the operator can keep it from being offered",
		Observed:   Observed{Imports: []Import{served("a", "v1", small)}, Withheld: sets.New("v1")},
		published:  map[string]string{"v1": "NotPublished"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}, {
		name:       "and take it back once nobody has objects",
		Observed:   Observed{Imports: []Import{served("a", "v1", small)}, Withheld: sets.New("v1"), Offered: offered("v1", small), Used: new(false)},
		published:  map[string]string{"v1": "NotPublished"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}, {
		name:       "but not before",
		Observed:   Observed{Imports: []Import{served("a", "v1", small)}, Withheld: sets.New("v1"), Offered: offered("v1", small), Used: new(true)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "StillUsed"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}, {
		name:       "what is installed stays as it is; a newer cluster knows more",
		Observed:   Observed{Imports: []Import{served("a", "v1", color)}, Offered: installed("v1", small)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Installed"},
		compatible: map[string]string{"v1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}, {
		name:       "of what is installed an older cluster does not know all, which is told",
		Observed:   Observed{Imports: []Import{served("a", "v1", small)}, Offered: installed("v1", color), Withheld: sets.New("v1")},
		offer:      "v1 color,size",
		published:  map[string]string{"v1": "Installed"},
		compatible: map[string]string{"v1": "Negotiated: a: spec.color is not known"},
		verdicts:   map[string]string{"a": "Narrower: spec.color is not known"},
	}, {
		name:       "a cluster that has nothing in common with what is installed is told",
		Observed:   Observed{Imports: []Import{served("a", "v1", texts)}, Offered: installed("v1", small)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Installed"},
		compatible: map[string]string{"v1": "SomeIncompatible"},
		verdicts:   map[string]string{"a": "Incompatible"},
	}, {
		name:       "of several versions the one that most clusters serve is offered",
		Observed:   Observed{Imports: []Import{served("a", "v1", small), served("a1", "v1beta1", small), served("b", "v1beta1", small)}},
		offer:      "v1beta1 size",
		published:  map[string]string{"v1": "OtherVersion", "v1beta1": "Published"},
		compatible: map[string]string{"v1": "Negotiated", "v1beta1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll", "a1": "AcceptsAll", "b": "AcceptsAll"},
	}, {
		name:       "of equally many the most stable one",
		Observed:   Observed{Imports: []Import{served("a", "v1", small), served("a1", "v1beta1", small)}},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published", "v1beta1": "OtherVersion"},
		compatible: map[string]string{"v1": "Negotiated", "v1beta1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll", "a1": "AcceptsAll"},
	}, {
		name:       "the version that is offered stays",
		Observed:   Observed{Imports: []Import{served("a", "v1", small), served("a1", "v1beta1", small)}, Offered: offered("v1beta1", small)},
		offer:      "v1beta1 size",
		published:  map[string]string{"v1": "OtherVersion", "v1beta1": "Published"},
		compatible: map[string]string{"v1": "Negotiated", "v1beta1": "Negotiated"},
		verdicts:   map[string]string{"a": "AcceptsAll", "a1": "AcceptsAll"},
	}, {
		name:       "until no cluster serves it and no workspace uses it",
		Observed:   Observed{Imports: []Import{served("a", "v1", small)}, Offered: offered("v1beta1", small), Used: new(false)},
		offer:      "v1 size",
		published:  map[string]string{"v1": "Published", "v1beta1": "NothingToOffer"},
		compatible: map[string]string{"v1": "Negotiated", "v1beta1": "NoImports"},
		verdicts:   map[string]string{"a": "AcceptsAll"},
	}} {
		t.Run(test.name, func(t *testing.T) {
			got := negotiate(test.Observed)
			if got.AskUsed != test.ask {
				t.Fatalf("asks %t", got.AskUsed)
			}
			if test.ask {
				return
			}
			if offer := offerText(got.Offer); offer != test.offer {
				t.Errorf("offers %q, want %q", offer, test.offer)
			}
			if len(got.Versions) != len(test.published) || len(got.Verdicts) != len(test.verdicts) {
				t.Errorf("got %d versions and %d verdicts", len(got.Versions), len(got.Verdicts))
			}
			for v, want := range test.published {
				expect(t, "published "+v, got.Versions[v].Published.Reason, got.Versions[v].Published.Message, want)
			}
			for v, want := range test.compatible {
				expect(t, "compatible "+v, got.Versions[v].Compatible.Reason, got.Versions[v].Compatible.Message, want)
			}
			for i, want := range test.verdicts {
				c := got.Verdicts[i].Compatible
				expect(t, "verdict "+i, c.Reason, c.Message, want)
				offered := got.Offer != nil && got.Offer.Version == versionOf(test.Imports, i)
				if reason := got.Verdicts[i].Available.Reason; (reason == apiresourcev1alpha1.ReasonOffered) != offered {
					t.Errorf("%s is %s", i, reason)
				}
			}
		})
	}
}

func expect(t *testing.T, what, reason, message, want string) {
	t.Helper()
	if got := reason + ": " + message; !strings.HasPrefix(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func versionOf(imports []Import, name string) string {
	for _, i := range imports {
		if i.Name == name {
			return i.Version
		}
	}
	return ""
}

func offerText(o *Offer) string {
	if o == nil {
		return ""
	}
	return o.Version + " " + strings.Join(sets.List(sets.KeySet(o.Schema.Properties["spec"].Properties)), ",")
}

// Negotiating again what was negotiated changes nothing.
func TestNegotiateIsStable(t *testing.T) {
	imports := []Import{
		{Name: "a", Version: "v1", Description: describe(t, color)},
		{Name: "b", Version: "v1", Description: describe(t, texts)},
		{Name: "c", Version: "v1", Description: describe(t, small)},
	}
	first := negotiate(Observed{Imports: imports})
	second := negotiate(Observed{Imports: imports, Offered: first.Offer})
	one, err := resourceSchema(context.Background(), "example.com", *first.Offer)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := offerOf(one)
	if err != nil || stored.Installed {
		t.Fatal(stored, err)
	}
	third := negotiate(Observed{Imports: imports, Offered: stored})
	for _, again := range []Outcome{second, third} {
		other, err := resourceSchema(context.Background(), "example.com", *again.Offer)
		if err != nil || other.Name != one.Name {
			t.Errorf("got %s after %s (%v)", other.Name, one.Name, err)
		}
	}
}

func TestResourceSchemaIsChecked(t *testing.T) {
	offer := Offer{Version: "v1", Description: describe(t, small)}
	var refused *refusedError
	if _, err := resourceSchema(context.Background(), "", offer); !errors.As(err, &refused) {
		t.Errorf("the core group: %v", err)
	}
	community, err := resourceSchema(context.Background(), "gateway.networking.k8s.io", offer)
	if err != nil || community.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation] == "" {
		t.Errorf("a group of the community: %v", err)
	}
	spec := offer.Schema.Properties["spec"]
	spec.XValidations = apiextensionsv1.ValidationRules{{Rule: "self.gone > 1"}}
	offer.Schema.Properties["spec"] = spec
	if _, err := resourceSchema(context.Background(), "example.com", offer); !errors.As(err, &refused) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a rule about nothing: %v", err)
	}
}
