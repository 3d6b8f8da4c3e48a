package summarize

const observedGeneration = "observedGeneration"

// generations translates observed generations: those in a copy's status count the copy's generations, and who looks at
// the upstream object compares them with its own.
type generations struct {
	upstream, downstream int64
	// synced: what holds for the copy's generation holds for the upstream one.
	synced bool
}

func (in Input) generations() generations {
	return generations{
		upstream:   in.Upstream.GetGeneration(),
		downstream: in.Downstream.GetGeneration(),
		synced:     in.SpecSynced,
	}
}

// translate changes the status in place: its own observed generation, and those of conditions, wherever they are.
func (g generations) translate(status, shown map[string]any) {
	g.translateField(status, shown)
	g.translateConditions(status, shown)
}

func (g generations) translateConditions(value, shown any) {
	switch value := value.(type) {
	case map[string]any:
		previous, _ := shown.(map[string]any)
		for name, field := range value {
			if items, ok := field.([]any); ok && name == "conditions" {
				g.translateList(items, previous[name])
			} else {
				g.translateConditions(field, previous[name])
			}
		}
	case []any:
		previous, _ := shown.([]any)
		for i, item := range value {
			if i < len(previous) {
				g.translateConditions(item, previous[i])
			} else {
				g.translateConditions(item, nil)
			}
		}
	}
}

func (g generations) translateList(conditions []any, shown any) {
	for _, item := range conditions {
		if condition, ok := item.(map[string]any); ok {
			g.translateField(condition, conditionOfType(shown, condition["type"]))
		}
	}
}

func conditionOfType(conditions any, kind any) map[string]any {
	kind, _ = kind.(string)
	list, _ := conditions.([]any)
	for _, item := range list {
		if condition, ok := item.(map[string]any); ok && condition["type"] == kind {
			return condition
		}
	}
	return nil
}

func (g generations) translateField(status, shown map[string]any) {
	if observed, ok := integer(status[observedGeneration]); ok {
		previous, _ := integer(shown[observedGeneration])
		status[observedGeneration] = g.translated(observed, previous)
	}
}

// translated is the upstream generation when the copy's controller has seen all of it. Until then it is what was observed
// before, and never the generation that is still to be observed.
func (g generations) translated(observed, previous int64) int64 {
	if g.synced && observed >= g.downstream {
		return g.upstream
	}
	return max(0, min(previous, g.upstream-1))
}

func integer(value any) (int64, bool) {
	switch value := value.(type) {
	case int64:
		return value, true
	case float64:
		return int64(value), float64(int64(value)) == value
	}
	return 0, false
}
