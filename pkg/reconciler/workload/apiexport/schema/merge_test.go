package schema

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apiserver/pkg/cel"
)

func TestCommon(t *testing.T) {
	for _, test := range []struct{ name, a, b, want string }{{
		name: "a field that only one side knows is left out",
		a:    `"f":{"type":"string"}`,
		b:    `"f":{"type":"string"},"new":{"type":"string"}`,
		want: `"f":{"type":"string"}`,
	}, {
		name: "of bounds the stricter one holds",
		a:    `"f":{"type":"integer","minimum":1,"maximum":9}`,
		b:    `"f":{"type":"integer","minimum":1,"exclusiveMinimum":true,"maximum":5}`,
		want: `"f":{"type":"integer","minimum":1,"exclusiveMinimum":true,"maximum":5}`,
	}, {
		name: "of lengths the stricter one holds",
		a:    `"f":{"type":"string","minLength":1,"maxLength":9},"l":{"type":"array","maxItems":5,"items":{"type":"string","maxLength":5}}`,
		b:    `"f":{"type":"string","minLength":2,"maxLength":5},"l":{"type":"array","maxItems":3,"items":{"type":"string"}}`,
		want: `"f":{"type":"string","minLength":2,"maxLength":5},"l":{"type":"array","maxItems":3,"items":{"type":"string","maxLength":5}}`,
	}, {
		name: "of enumerated values those of both are left",
		a:    `"f":{"type":"string","enum":["a","b","c"]}`,
		b:    `"f":{"type":"string","enum":["d","c","b"]}`,
		want: `"f":{"type":"string","enum":["b","c"]}`,
	}, {
		name: "two patterns hold side by side",
		a:    `"f":{"type":"string","pattern":"^a"}`,
		b:    `"f":{"type":"string","pattern":"b$"}`,
		want: `"f":{"type":"string","allOf":[{"pattern":"^a"},{"pattern":"b$"}]}`,
	}, {
		name: "the smaller one of two number formats holds",
		a:    `"f":{"type":"integer","format":"int32"}`,
		b:    `"f":{"type":"integer","format":"int64"}`,
		want: `"f":{"type":"integer","format":"int32"}`,
	}, {
		name: "what one side requires is required",
		a:    `"o":{"type":"object","required":["f"],"properties":{"f":{"type":"string"}}}`,
		b:    `"o":{"type":"object","properties":{"f":{"type":"string"}}}`,
		want: `"o":{"type":"object","required":["f"],"properties":{"f":{"type":"string"}}}`,
	}, {
		name: "what has a default need not be given, and a default that is not the same on both sides is left to each",
		a:    `"o":{"type":"object","required":["f","g"],"properties":{"f":{"type":"integer","default":1},"g":{"type":"integer","default":1}}}`,
		b:    `"o":{"type":"object","required":["f"],"properties":{"f":{"type":"integer","default":1},"g":{"type":"integer","default":2}}}`,
		want: `"o":{"type":"object","properties":{"f":{"type":"integer","default":1},"g":{"type":"integer"}}}`,
	}, {
		name: "null is allowed where both allow it",
		a:    `"f":{"type":"string","nullable":true},"g":{"type":"string","nullable":true}`,
		b:    `"f":{"type":"string","nullable":true},"g":{"type":"string"}`,
		want: `"f":{"type":"string","nullable":true},"g":{"type":"string"}`,
	}, {
		name: "what may be anything is what the other side says",
		a:    `"f":{"x-kubernetes-preserve-unknown-fields":true},"o":{"type":"object","x-kubernetes-preserve-unknown-fields":true}`,
		b:    `"f":{"type":"string"},"o":{"type":"object","properties":{"g":{"type":"string"}}}`,
		want: `"f":{"type":"string"},"o":{"type":"object","properties":{"g":{"type":"string"}}}`,
	}, {
		name: "an integer or a string, and an integer",
		a:    `"f":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}`,
		b:    `"f":{"type":"integer","minimum":0}`,
		want: `"f":{"type":"integer","minimum":0}`,
	}, {
		name: "integers or strings with a pattern",
		a:    `"f":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}`,
		b:    `"f":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}],"pattern":"^a"}`,
		want: `"f":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}],"pattern":"^a"}`,
	}, {
		name: "a map and an object with fields of the map's type",
		a:    `"f":{"type":"object","additionalProperties":{"type":"string","maxLength":3}}`,
		b:    `"f":{"type":"object","properties":{"a":{"type":"string"}}}`,
		want: `"f":{"type":"object","properties":{"a":{"type":"string","maxLength":3}}}`,
	}, {
		name: "a list that is a map is stricter than one that is not, and fewer keys are stricter",
		a:    `"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k","p"],"items":{"type":"object","required":["k","p"],"properties":{"k":{"type":"string"},"p":{"type":"string"}}}},"s":{"type":"array","items":{"type":"string"}}`,
		b:    `"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"},"p":{"type":"string"}}}},"s":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}}`,
		want: `"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k","p"],"properties":{"k":{"type":"string"},"p":{"type":"string"}}}},"s":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}}`,
	}, {
		name: "rules of both sides hold, each once",
		a:    `"f":{"type":"string","x-kubernetes-validations":[{"rule":"self != 'a'"},{"rule":"self != 'b'","message":"not b"}]}`,
		b:    `"f":{"type":"string","x-kubernetes-validations":[{"rule":"self != 'c'"},{"rule":"self != 'b'","message":"never b"}]}`,
		want: `"f":{"type":"string","x-kubernetes-validations":[{"rule":"self != 'a'"},{"rule":"self != 'b'","message":"never b"},{"rule":"self != 'c'"}]}`,
	}, {
		name: "a field that a rule reads stays for the rule, and may not be set",
		a:    `"o":{"type":"object","properties":{"f":{"type":"string"},"new":{"type":"string","default":"x"}},"x-kubernetes-validations":[{"rule":"self.f != 'y'"}]},"p":{"type":"object","properties":{"f":{"type":"string"},"new":{"type":"string"}},"x-kubernetes-validations":[{"rule":"!has(self.new) || self.new != self.f"}]}`,
		b:    `"o":{"type":"object","properties":{"f":{"type":"string"}}},"p":{"type":"object","properties":{"f":{"type":"string"}}}`,
		want: `"o":{"type":"object","properties":{"f":{"type":"string"}},"x-kubernetes-validations":[{"rule":"self.f != 'y'"}]},"p":{"type":"object","properties":{"f":{"type":"string"},"new":{"type":"string"}},"x-kubernetes-validations":[{"rule":"!has(self.new) || self.new != self.f"},{"rule":"!has(self.new)","message":"new is not known to every cluster"}]}`,
	}, {
		name: "a condition on a field that is left out is left out",
		a:    `"o":{"type":"object","properties":{"f":{"type":"string"},"new":{"type":"string"}},"anyOf":[{"required":["f"]},{"required":["new"],"properties":{"new":{"minLength":1}}}]}`,
		b:    `"o":{"type":"object","properties":{"f":{"type":"string"}}}`,
		want: `"o":{"type":"object","properties":{"f":{"type":"string"}},"anyOf":[{"required":["f"]},{"required":["new"]}]}`,
	}, {
		name: "the longer description is kept",
		a:    `"f":{"type":"string","description":"A."}`,
		b:    `"f":{"type":"string","description":"A field."}`,
		want: `"f":{"type":"string","description":"A field."}`,
	}, {
		name: "a whole object, and an object of any fields",
		a:    `"o":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}`,
		b:    `"o":{"type":"object","x-kubernetes-preserve-unknown-fields":true}`,
		want: `"o":{"type":"object","properties":{"apiVersion":{"type":"string"},"kind":{"type":"string"},"metadata":{"type":"object"}},"x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}`,
	}, {
		name: "a restriction of the name holds",
		a:    `"metadata":{"type":"object","properties":{"name":{"type":"string","maxLength":8}}}`,
		b:    `"metadata":{"type":"object"}`,
		want: `"metadata":{"type":"object","properties":{"name":{"type":"string","maxLength":8}}}`,
	}} {
		t.Run(test.name, func(t *testing.T) {
			a, b, want := object(t, test.a), object(t, test.b), object(t, test.want)
			for name, schema := range map[string]string{"apiVersion": `{"type":"string"}`, "kind": `{"type":"string"}`, "metadata": `{"type":"object"}`} {
				if _, ok := want.Properties[name]; !ok {
					want.Properties[name] = *parse(t, schema)
				}
			}
			for _, s := range []*Schema{a, b} {
				if why := refusesCRD(t, s); why != "" {
					t.Fatalf("not a valid schema to begin with: %s", why)
				}
			}
			got, problems := Common(a, b)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if why := refusesCRD(t, got); why != "" {
				t.Errorf("no API server would take it: %s", why)
			}
		})
	}
}

func TestNothingInCommon(t *testing.T) {
	for _, test := range []struct{ name, a, b, want string }{
		{
			"other types", `"o":{"type":"object","properties":{"f":{"type":"string"}}}`, `"o":{"type":"object","properties":{"f":{"type":"integer"}}}`,
			"o.f is offered as string, but is integer",
		},
		{
			"in a list", `"l":{"type":"array","items":{"type":"boolean"}}`, `"l":{"type":"array","items":{"type":"object"}}`,
			"l[] is offered as boolean, but is object",
		},
		{
			"in a map", `"m":{"type":"object","additionalProperties":{"type":"boolean"}}`, `"m":{"type":"object","additionalProperties":{"type":"string"}}`,
			"m[] is offered as boolean, but is string",
		},
		{
			"other values", `"f":{"type":"string","enum":["a"]}`, `"f":{"type":"string","enum":["b","c"]}`,
			`f is offered as one of "a", but is one of "b", "c"`,
		},
		{
			"no number in between", `"f":{"type":"integer","maximum":3}`, `"f":{"type":"integer","minimum":5}`,
			"f has no value that both allow: it is at least 5 on one side and at most 3 on the other",
		},
		{
			"no length in between", `"f":{"type":"string","maxLength":3}`, `"f":{"type":"string","minLength":5}`,
			"f has no length that both allow",
		},
		{
			"required and not known to what is offered", `"o":{"type":"object","properties":{}}`, `"o":{"type":"object","required":["f"],"properties":{"f":{"type":"string"}}}`,
			"o.f is required, but not known to what is offered",
		},
		{
			"required by what is offered and not known", `"o":{"type":"object","required":["f"],"properties":{"f":{"type":"string"}}}`, `"o":{"type":"object"}`,
			"o.f is required by what is offered, but not known",
		},
		{
			"lists of another type", `"l":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"object","x-kubernetes-map-type":"atomic","properties":{"k":{"type":"string"}},"required":["k"]}}`,
			`"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","properties":{"k":{"type":"string"}},"required":["k"]}}`,
			"l is offered as a list of type set, but is of type map",
		},
		{
			"lists with keys that have other defaults", `"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","properties":{"k":{"type":"string","default":"a"}}}}`,
			`"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","properties":{"k":{"type":"string","default":"b"}}}}`,
			`l[].k is a key of the list whose default is "a" in what is offered, but "b"`,
		},
		{
			"a whole object", `"o":{"type":"object","x-kubernetes-embedded-resource":true,"properties":{"spec":{"type":"object"}}}`, `"o":{"type":"object","properties":{"spec":{"type":"object"}}}`,
			"o is a whole object on one side and a part of one on the other",
		},
		{
			"rules that take a value for something else", `"f":{"type":"string","format":"date-time","x-kubernetes-validations":[{"rule":"self > timestamp('2020-01-01T00:00:00Z')"}]}`,
			`"f":{"type":"string","x-kubernetes-validations":[{"rule":"self.startsWith('2')"}]}`,
			"f has the format date-time on one side only, and rules on both sides read it",
		},
		{
			"a default that a rule relies on", `"o":{"type":"object","properties":{"f":{"type":"integer","default":1}},"x-kubernetes-validations":[{"rule":"self.f > 0"}]}`,
			`"o":{"type":"object","properties":{"f":{"type":"integer"}}}`,
			"o.f has different defaults (1 is offered, none is set), and a condition reads it",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := object(t, test.a), object(t, test.b)
			common, problems := Common(a, b)
			if common != nil || len(problems) == 0 || !strings.HasPrefix(problems[0].String(), test.want) {
				t.Errorf("got %v, want %q", problems, test.want)
			}
			for _, s := range []*Schema{a, b} {
				if why := refusesCRD(t, s); why != "" {
					t.Errorf("not a valid schema to begin with: %s", why)
				}
			}
		})
	}
}

func TestNarrower(t *testing.T) {
	wide := `"o":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"l":{"type":"array","items":{"type":"object","properties":{"c":{"type":"string"}}}}}}`
	for _, test := range []struct{ name, schema, want string }{
		{"the same", wide, ""},
		{"wider: more fields, fewer conditions", `"o":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"number"},"l":{"type":"array","items":{"type":"object","properties":{"c":{"type":"string"},"d":{"type":"string"}}}}}},"p":{"type":"string"}`, ""},
		{"an older one", `"o":{"type":"object","properties":{"a":{"type":"string"},"l":{"type":"array","items":{"type":"object"}}}}`, "o.b is not known; o.l[].c is not known"},
		{
			"a stricter one", `"o":{"type":"object","required":["a"],"properties":{"a":{"type":"string","maxLength":3},"b":{"type":"integer"},"l":{"type":"array","maxItems":1,"items":{"type":"object","properties":{"c":{"type":"string"}}}}}}`,
			"o is narrower (required); o.a is narrower (maxLength); o.l is narrower (maxItems)",
		},
		{
			"one with a rule", `"o":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"l":{"type":"array","items":{"type":"object","properties":{"c":{"type":"string"}}}}},"x-kubernetes-validations":[{"rule":"has(self.a)"}]}`,
			"o is narrower (validation rules)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			differences, problems := Narrower(object(t, wide), object(t, test.schema))
			var all []string
			for _, d := range differences {
				all = append(all, d.String())
			}
			if got := strings.Join(all, "; "); got != test.want || len(problems) > 0 {
				t.Errorf("got %q, want %q (%v)", got, test.want, problems)
			}
		})
	}
}

func TestEscapeIsThatOfAPIServers(t *testing.T) {
	for _, name := range []string{"", "a", "a_b", "__a", "a.b", "a-b", "a/b", "namespace", "self", "9a", "a b", "ä"} {
		want, wantOK := cel.Escape(name)
		if got, ok := escape(name); ok != wantOK || got != want {
			t.Errorf("%q: got %q %t, want %q %t", name, got, ok, want, wantOK)
		}
	}
}

func TestMentions(t *testing.T) {
	for _, test := range []struct {
		rule, name string
		want       bool
	}{
		{"self.a > 1", "a", true},
		{"self.ab > 1", "a", false},
		{"self.ba > 1", "a", false},
		{"self.__namespace__ != ''", "namespace", true},
		{"self.a__dash__b", "a-b", true},
		{"self.ab + self.a", "a", true},
		{"true", "a", false},
	} {
		if got := mentions(test.rule, test.name); got != test.want {
			t.Errorf("%q mentions %q: got %t", test.rule, test.name, got)
		}
	}
}
