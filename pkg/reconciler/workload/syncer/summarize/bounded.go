package summarize

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	// maxStatus is the most JSON that one status may be; no controller of Kubernetes comes near.
	maxStatus = 64 << 10
	// maxAnnotation is less, as annotations of one object share 256 KiB and several targets have one each.
	maxAnnotation = 16 << 10
	// cut ends a text that was shortened.
	cut = "… (cut by workload-syncer)"
)

func (in Input) limit() int {
	if in.SeveralTargets {
		return maxAnnotation
	}
	return maxStatus
}

// limits are tried one after the other: how long texts and lists may be.
var limits = []struct{ text, list int }{{4096, 256}, {1024, 64}, {256, 16}}

// bounded is the status when it fits. Otherwise its long texts and lists are cut, and when this is not enough its largest
// fields are left out; shortened names the fields that were.
func bounded(status map[string]any, limit int) (fitting map[string]any, shortened []string, err error) {
	if atMost(status) <= limit {
		return status, nil, nil
	}
	size, err := sizeOf(status)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding status: %w", err)
	}
	if size <= limit {
		return status, nil, nil
	}
	fitting = status
	for _, l := range limits {
		fitting = shorten(status, l.text, l.list).(map[string]any)
		if size, _ = sizeOf(fitting); size <= limit {
			return fitting, changed(status, fitting), nil
		}
	}
	dropLargest(fitting, limit)
	return fitting, changed(status, fitting), nil
}

func shorten(value any, text, list int) any {
	switch value := value.(type) {
	case string:
		if len(value) > text {
			return strings.ToValidUTF8(value[:text-len(cut)], "") + cut
		}
	case []any:
		c := make([]any, 0, min(len(value), list))
		for _, item := range value[:min(len(value), list)] {
			c = append(c, shorten(item, text, list))
		}
		return c
	case map[string]any:
		c := make(map[string]any, len(value))
		for name, field := range value {
			c[name] = shorten(field, text, list)
		}
		return c
	}
	return value
}

// dropLargest leaves fields out, the largest first, conditions last: they are what users look at.
func dropLargest(status map[string]any, limit int) {
	sizes := map[string]int{}
	for name, value := range status {
		sizes[name], _ = sizeOf(value)
	}
	names := slices.SortedFunc(maps.Keys(status), func(a, b string) int {
		if (a == "conditions") != (b == "conditions") {
			return map[bool]int{true: 1, false: -1}[a == "conditions"]
		}
		if sizes[a] != sizes[b] {
			return sizes[b] - sizes[a]
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if size, _ := sizeOf(status); size <= limit {
			return
		}
		delete(status, name)
	}
}

// changed are the fields of the status that are not as they were.
func changed(before, after map[string]any) []string {
	var names []string
	for name, value := range before {
		if !equal(after[name], value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// atMost is what the JSON of the value takes if each of its characters must be escaped. It costs little, and is enough to
// know that the usual status fits.
func atMost(value any) int {
	const number, punctuation, escaped = 25, 4, 6
	switch value := value.(type) {
	case string:
		return escaped*len(value) + punctuation
	case []any:
		size := punctuation
		for _, item := range value {
			size += atMost(item)
		}
		return size
	case map[string]any:
		size := punctuation
		for name, field := range value {
			size += escaped*len(name) + punctuation + atMost(field)
		}
		return size
	}
	return number
}

func sizeOf(value any) (int, error) {
	text, err := json.Marshal(value)
	return len(text), err
}
