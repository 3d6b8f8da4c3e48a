package transform

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Drifted says whether the copy no longer holds what is desired, and names the first such field in the order of names. It
// never tells a value. Fields of the copy that are not in desired are others', and so are items of lists that Kubernetes
// merges by key; of metadata only labels and annotations count, and status never does. What a server makes of a value
// when it stores it (quantities, empty values, defaults for empty values) is no drift.
//
// A field that desired no longer holds is not seen, because nothing tells it from a field of somebody else; the applied
// hash tells.
func Drifted(desired, observed *unstructured.Unstructured) (field string, drifted bool) {
	if observed == nil {
		return "", true
	}
	c := comparisonFor(desired)
	path, drifted := c.differentField(desired.Object, observed.Object, place{})
	return strings.TrimPrefix(path, "."), drifted
}

// comparison knows the kind that is compared. Its methods return the path of the first difference, built from the leaf
// up, so that nothing is allocated while there is none.
type comparison struct {
	// keyed lists of the kind are merged, appended ones are added to by the server; all others are replaced as a whole.
	keyed    keyedLists
	appended map[string]bool
	// custom: the kind is not of Kubernetes, and its lists are not known.
	custom bool
}

// place is where a value stands: how deep, the name of its field, and that of the field that holds it. The object itself
// is at the zero place.
type place struct {
	depth        int
	parent, name string
}

func (p place) field(name string) place { return place{depth: p.depth + 1, parent: p.name, name: name} }

// item is one of a list; it has no name of its own.
func (p place) item() place { return p.field("[]") }

func (c comparison) differentField(want, have map[string]any, at place) (path string, differs bool) {
	first := ""
	for name, value := range want {
		if differs && name >= first || !isCompared(at, name) {
			continue
		}
		if rest, d := c.difference(value, have[name], at.field(name)); d {
			first, path, differs = name, rest, true
		}
	}
	if differs {
		path = segment(first) + path
	}
	return path, differs
}

// isCompared leaves out what identifies the objects, what is never written down, and what the server sets.
func isCompared(at place, name string) bool {
	switch {
	case at.depth == 0:
		return name != "apiVersion" && name != "kind" && name != "status"
	case at.depth == 1 && at.name == "metadata":
		return name == "labels" || name == "annotations"
	}
	return true
}

func (c comparison) difference(want, have any, at place) (path string, differs bool) {
	switch want := want.(type) {
	case nil:
		return "", false
	case map[string]any:
		haveMap, ok := have.(map[string]any)
		if !ok && have != nil {
			return "", true
		}
		return c.differentField(want, haveMap, at)
	case []any:
		haveList, ok := have.([]any)
		if !ok && have != nil {
			return "", true
		}
		return c.differentItem(want, haveList, at)
	}
	return "", !c.sameScalar(want, have, at)
}

func (c comparison) differentItem(want, have []any, at place) (path string, differs bool) {
	if len(want) == 0 && (len(have) == 0 || c.isDefaulted(at)) {
		return "", false
	}
	if keys := c.keysOf(at, want, have); keys != nil {
		return c.differentKeyed(want, have, at, keys)
	}
	if len(have) < len(want) || len(have) > len(want) && !c.isAppended(at) {
		return "", true
	}
	for i := range want {
		if rest, differs := c.difference(want[i], have[i], at.item()); differs {
			return "[" + strconv.Itoa(i) + "]" + rest, true
		}
	}
	return "", false
}

// differentKeyed compares the items with the same keys. Others may have put theirs in between, so the search for the next
// item starts after the last: lists that are in order cost one pass.
func (c comparison) differentKeyed(want, have []any, at place, keys []string) (path string, differs bool) {
	next := 0
	for _, item := range want {
		i := find(item, have, next, keys)
		if i < 0 {
			return keyed(item, keys), true
		}
		if rest, differs := c.difference(item, have[i], at.item()); differs {
			return keyed(item, keys) + rest, true
		}
		next = i + 1
	}
	return "", false
}

func find(item any, items []any, start int, keys []string) int {
	for i := range items {
		if at := (start + i) % len(items); sameKeys(item, items[at], keys) {
			return at
		}
	}
	return -1
}

func sameKeys(a, b any, keys []string) bool {
	x, ok := a.(map[string]any)
	y, alsoOK := b.(map[string]any)
	if !ok || !alsoOK {
		return false
	}
	for _, key := range keys {
		if !sameKey(x[key], y[key], key) {
			return false
		}
	}
	return true
}

func sameKey(a, b any, key string) bool {
	if key == "protocol" { // the only key with a default
		a, b = orTCP(a), orTCP(b)
	}
	return sameNumber(a, b) || isEmpty(a) && isEmpty(b) || isScalar(a) && a == b
}

func orTCP(protocol any) any {
	if isEmpty(protocol) {
		return "TCP"
	}
	return protocol
}

func (c comparison) sameScalar(want, have any, at place) bool {
	switch {
	case !isScalar(want):
		return reflect.DeepEqual(want, have)
	case want == have, sameNumber(want, have):
		return true
	case want == "" && isFreeForm[at.parent]:
		return false
	case isEmpty(want):
		return have == nil || c.isDefaulted(at)
	}
	return isQuantity(at) && sameQuantity(want, have)
}

// isFreeForm are the fields that map names of the user's choice to strings. In them an empty string is not nothing.
var isFreeForm = map[string]bool{
	"labels": true, "annotations": true, "matchLabels": true, "selector": true, "nodeSelector": true, "data": true,
}

func isScalar(value any) bool {
	switch value.(type) {
	case string, bool, int64, float64:
		return true
	}
	return false
}

func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case bool:
		return !value
	case int64:
		return value == 0
	case float64:
		return value == 0
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}

// sameNumber is true for an integer and a float of the same value: which one a decoder makes depends on its route.
func sameNumber(a, b any) bool {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(float64); ok {
			return float64(a) == b
		}
		b, ok := b.(int64)
		return ok && a == b
	case float64:
		if b, ok := b.(int64); ok {
			return a == float64(b)
		}
		b, ok := b.(float64)
		return ok && a == b
	}
	return false
}

// isQuantity knows the fields that API servers store as quantities, in their canonical form.
func isQuantity(at place) bool {
	switch at.parent {
	case "requests", "limits", "capacity", "hard", "podFixed",
		"default", "defaultRequest", "max", "min", "maxLimitRequestRatio":
		return true
	case "target": // of a metric
		return at.name == "value" || at.name == "averageValue"
	}
	return at.name == "sizeLimit" || at.name == "divisor"
}

// sameQuantity compares quantities however they are written, numbers included: `cpu: 1` is one, and stored as "1".
func sameQuantity(a, b any) bool {
	x, ok := parseQuantity(a)
	if !ok {
		return false
	}
	y, ok := parseQuantity(b)
	return ok && x.Cmp(y) == 0
}

func parseQuantity(value any) (resource.Quantity, bool) {
	var text string
	switch value := value.(type) {
	case string:
		text = value
	case int64, float64:
		text = fmt.Sprint(value)
	}
	if !isCheapQuantity(text) {
		return resource.Quantity{}, false
	}
	quantity, err := resource.ParseQuantity(text)
	return quantity, err == nil
}

// isCheapQuantity keeps a user from making us compute 10 to the power of a billion.
func isCheapQuantity(text string) bool {
	exponent := strings.IndexAny(text, "eE")
	return len(text) <= 64 && (exponent < 0 || len(text)-exponent <= 4)
}

func segment(name string) string {
	if strings.ContainsAny(name, "./[]") {
		return "[" + name + "]"
	}
	return "." + name
}

// keyed names an item by its keys; the values of keys are names, not secrets.
func keyed(item any, keys []string) string {
	m, _ := item.(map[string]any)
	var parts []string
	for _, key := range keys {
		if isScalar(m[key]) {
			parts = append(parts, fmt.Sprintf("%s=%v", key, m[key]))
		}
	}
	return "[" + strings.Join(parts, ",") + "]"
}
