package virtualworkspace

import (
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/sets"
)

// The query parameters that each verb may have. Others are refused: one that is passed on without being understood may
// widen what is read.
var parameters = map[string]map[string]bool{
	verbList: {
		"labelSelector": true, "fieldSelector": true, "limit": true, "continue": true, "resourceVersion": true,
		"resourceVersionMatch": true, "timeoutSeconds": true, "watch": true, "allowWatchBookmarks": true, "sendInitialEvents": true,
		"timeout": true,
	},
	verbGet:      {"resourceVersion": true},
	verbCreate:   {"fieldManager": true, "fieldValidation": true},
	verbUpdate:   {"fieldManager": true, "fieldValidation": true},
	verbPatch:    {"fieldManager": true, "fieldValidation": true},
	verbDelete:   {},
	verbDiscover: {"timeout": true, "hash": true},
}

// query is what the parameters of a request ask for. Values that are passed on are in pass.
type query struct {
	watch bool
	// narrowed: the client's own selectors leave out some of the target's objects.
	narrowed bool
	pass     url.Values
}

// parseQuery reads the parameters of a request with this verb. Selectors of list and watch have the target's own selector
// added, which nothing can take away: all requirements must hold.
func parseQuery(verb, raw string, o owner) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, denied(reasonQuery, "the query cannot be parsed")
	}
	q := query{pass: url.Values{}}
	for name, all := range values {
		if !parameters[verb][name] {
			return query{}, denied(reasonQuery, "the parameter %q is not served with %s", short(name), verb)
		}
		if len(all) != 1 {
			return query{}, denied(reasonQuery, "the parameter %q is given more than once", name)
		}
		if all[0] != "" {
			q.pass.Set(name, all[0])
		}
	}
	switch verb {
	case verbList:
		err = q.readSelection(o)
	case verbGet:
		err = q.checkVersion()
	default: // who writes, and how strictly, is ours to say
		q.pass = url.Values{}
	}
	return q, err
}

func (q *query) readSelection(o owner) error {
	for _, name := range []string{"watch", "allowWatchBookmarks", "sendInitialEvents"} {
		value := q.pass.Get(name)
		if value == "" {
			continue
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return denied(reasonQuery, "the parameter %q is neither true nor false", name)
		}
		if name == "watch" {
			q.watch = on
		}
		q.pass.Set(name, strconv.FormatBool(on))
	}
	for _, name := range []string{"limit", "timeoutSeconds"} {
		if value := q.pass.Get(name); value != "" {
			if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
				return denied(reasonQuery, "the parameter %q is not a number", name)
			}
		}
	}
	q.pass.Del("timeout") // typed clients send it beside timeoutSeconds
	switch q.pass.Get("resourceVersionMatch") {
	case "", "Exact", "NotOlderThan":
	default:
		return denied(reasonQuery, "resourceVersionMatch is Exact or NotOlderThan")
	}
	if err := q.checkVersion(); err != nil {
		return err
	}
	return q.narrow(o)
}

func (q *query) checkVersion() error {
	if value := q.pass.Get("resourceVersion"); value != "" {
		if _, err := strconv.ParseUint(value, 10, 64); err != nil {
			return denied(reasonQuery, "the resourceVersion is not a number")
		}
	}
	return nil
}

// narrow adds the target's own selector to the client's, which may name nothing that the client does not see: by asking
// for it, it would learn of it.
func (q *query) narrow(o owner) error {
	all := []string{labels.Set{o.stateLabel(): string(o.state)}.String()}
	if text := q.pass.Get("labelSelector"); text != "" {
		requirements, err := labels.ParseToRequirements(text)
		if err != nil {
			return denied(reasonQuery, "the labelSelector cannot be parsed")
		}
		for _, requirement := range requirements {
			if !o.showsLabel(requirement.Key()) {
				return denied(reasonQuery, "the labelSelector asks for a label that this view does not show")
			}
			q.narrowed = q.narrowed || !isOwn(requirement, o)
			all = append(all, requirement.String())
		}
	}
	q.pass.Set("labelSelector", strings.Join(all, ","))
	return q.checkFields()
}

// isOwn: the requirement is the one that is added anyway.
func isOwn(r labels.Requirement, o owner) bool {
	return r.Key() == o.stateLabel() && r.Operator() == selection.Equals && r.Values().Equal(sets.NewString(string(o.state)))
}

func (q *query) checkFields() error {
	text := q.pass.Get("fieldSelector")
	if text == "" {
		return nil
	}
	selector, err := fields.ParseSelector(text)
	if err != nil {
		return denied(reasonQuery, "the fieldSelector cannot be parsed")
	}
	for _, requirement := range selector.Requirements() {
		if requirement.Field != "metadata.name" && requirement.Field != "metadata.namespace" {
			return denied(reasonQuery, "the fieldSelector may name metadata.name and metadata.namespace only")
		}
	}
	q.narrowed = true
	q.pass.Set("fieldSelector", selector.String())
	return nil
}

// short keeps what a client sent from filling answers and logs.
func short(text string) string {
	const most = 64
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}
