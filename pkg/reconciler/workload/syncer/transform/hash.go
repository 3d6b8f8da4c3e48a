package transform

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// SetAppliedHash notes on a copy what is about to be written: a hash of it all but this note, 32 characters whatever the
// size of the object. Metadata and annotations of the copy must be the caller's own, as those of Desired are.
func SetAppliedHash(desired *unstructured.Unstructured) (hash string) {
	metadata := look(desired.Object, "metadata")
	if metadata == nil {
		metadata = map[string]any{}
		desired.Object["metadata"] = metadata
	}
	annotations := look(metadata, "annotations")
	if annotations == nil {
		annotations = map[string]any{}
		metadata["annotations"] = annotations
	}
	delete(annotations, workloadv1alpha1.AppliedHashAnnotation)
	sum := sha256.Sum256(appendCanonical(make([]byte, 0, 4096), desired.Object))
	hash = hex.EncodeToString(sum[:16])
	annotations[workloadv1alpha1.AppliedHashAnnotation] = hash
	return hash
}

// appendCanonical appends an encoding that is the same for equal values and, as everything is tagged or counted, different
// for different ones. A number is the same as an integer and as a float: which one a decoder makes depends on its route.
func appendCanonical(buf []byte, value any) []byte {
	switch value := value.(type) {
	case nil:
		return append(buf, 'n')
	case bool:
		return strconv.AppendBool(buf, value)
	case string:
		return appendString(buf, value)
	case int64:
		return append(strconv.AppendInt(append(buf, '#'), value, 10), ';')
	case float64:
		return appendFloat(buf, value)
	case []any:
		buf = append(strconv.AppendInt(append(buf, '['), int64(len(value)), 10), ':')
		for _, item := range value {
			buf = appendCanonical(buf, item)
		}
		return buf
	case map[string]any:
		buf = append(strconv.AppendInt(append(buf, '{'), int64(len(value)), 10), ':')
		for _, key := range sortedKeys(value) {
			buf = appendCanonical(appendString(buf, key), value[key])
		}
		return buf
	default: // not made by a JSON decoder; a program's int, say
		return fmt.Appendf(append(buf, '?'), "%T:%v;", value, value)
	}
}

func appendString(buf []byte, value string) []byte {
	buf = append(strconv.AppendInt(append(buf, '"'), int64(len(value)), 10), ':')
	return append(buf, value...)
}

func sortedKeys(m map[string]any) []string {
	keys := slices.AppendSeq(make([]string, 0, len(m)), maps.Keys(m))
	slices.Sort(keys)
	return keys
}

func appendFloat(buf []byte, value float64) []byte {
	if integer := int64(value); float64(integer) == value && math.Abs(value) < 1<<53 {
		return appendCanonical(buf, integer)
	}
	return append(strconv.AppendFloat(append(buf, '#'), value, 'g', -1, 64), ';')
}
