package v1alpha1

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// SummarizingRule says that a field of an object is the targets' to report. What each reports is kept in its syncer's view, the
// annotation of [SyncerViewAnnotation].
type SummarizingRule struct {
	// FieldPath is dot-separated: status, a field below it, or a field below spec.
	FieldPath string `json:"fieldPath"`
	// PromoteToUpstream: while the object is on a single target, what that reports is the object's own.
	PromoteToUpstream bool `json:"promoteToUpstream,omitempty"`
}

const statusField = "status"

// IsStatus reports whether the field is the status or below it.
func (r SummarizingRule) IsStatus() bool {
	return r.FieldPath == statusField || strings.HasPrefix(r.FieldPath, statusField+".")
}

// Path are the names of the fields from the object down.
func (r SummarizingRule) Path() []string { return strings.Split(r.FieldPath, ".") }

// defaultSummarizing holds for objects without rules of their own. No syncer's view is kept of them: the status of one target is
// the object's, those of several are in the annotations of [StatusAnnotation].
func defaultSummarizing() []SummarizingRule {
	return []SummarizingRule{{FieldPath: statusField, PromoteToUpstream: true}}
}

// SummarizingRules are those in the annotations of an object. explicit is false if there are none, or none that can be read: then
// the status is reported, and promoted.
func SummarizingRules(annotations map[string]string) (rules []SummarizingRule, explicit bool, err error) {
	text, ok := annotations[SummarizingAnnotation]
	if !ok || text == "" {
		return defaultSummarizing(), false, nil
	}
	if err := json.Unmarshal([]byte(text), &rules); err != nil {
		return defaultSummarizing(), false, fmt.Errorf("annotation %s: must be a JSON list of objects with fieldPath and promoteToUpstream: %w", SummarizingAnnotation, err)
	}
	for i, rule := range rules {
		if err := rule.validate(rules[:i]); err != nil {
			return defaultSummarizing(), false, fmt.Errorf("annotation %s: %w", SummarizingAnnotation, err)
		}
	}
	return rules, true, nil
}

func (r SummarizingRule) validate(before []SummarizingRule) error {
	path := r.Path()
	for _, name := range path {
		if name == "" {
			return fmt.Errorf("fieldPath %q: is no path of fields", r.FieldPath)
		}
	}
	if !r.IsStatus() && (path[0] != "spec" || len(path) == 1) {
		return fmt.Errorf("fieldPath %q: must be status, a field below it, or a field below spec", r.FieldPath)
	}
	for _, other := range before {
		if strings.HasPrefix(r.FieldPath+".", other.FieldPath+".") || strings.HasPrefix(other.FieldPath+".", r.FieldPath+".") {
			return fmt.Errorf("fieldPath %q: overlaps with %q", r.FieldPath, other.FieldPath)
		}
	}
	return nil
}

// PromotesStatus reports whether the status of an object with these rules is made of what its targets report.
func PromotesStatus(rules []SummarizingRule) bool {
	for _, rule := range rules {
		if rule.FieldPath == statusField && rule.PromoteToUpstream {
			return true
		}
	}
	return false
}

// ReadSyncerView reads what a target reports, by the paths of the fields. A text that is no view is an empty one: it is written anew.
func ReadSyncerView(text string) (map[string]any, error) {
	if text == "" {
		return nil, nil
	}
	var view map[string]any
	if err := utiljson.Unmarshal([]byte(text), &view); err != nil {
		return nil, errors.New("the syncer's view is not a JSON object")
	}
	return view, nil
}
