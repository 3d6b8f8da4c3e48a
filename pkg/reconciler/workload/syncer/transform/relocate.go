package transform

import (
	"slices"
	"strings"
)

// relocate moves the copy into its namespace downstream.
func relocate(d *draft) error {
	d.metadata["namespace"] = d.Namespace
	return nil
}

// downstreamNamespace is the name downstream of a namespace of the object's workspace. Every name is translated, whether
// such a namespace exists or not: left as it is, it would mean a namespace of the physical cluster.
func (d *draft) downstreamNamespace(namespace string) string {
	upstream := d.Upstream.GetNamespace()
	switch {
	case namespace == "" || upstream == d.Namespace && isNamespaced(d): // the object is a copy already
		return namespace
	case namespace == upstream:
		return d.Namespace
	case d.Locator.ClusterName == "":
		return namespace
	}
	locator := d.Locator
	locator.Namespace = namespace
	return locator.DownstreamNamespace()
}

const (
	serviceAccountUser  = "system:serviceaccount:"  // + namespace + ":" + name
	serviceAccountGroup = "system:serviceaccounts:" // + namespace
)

// relocateSubjects makes a binding mean the copies of the workspace's ServiceAccounts. Without it the ServiceAccount of
// that name in a namespace of the physical cluster would be meant.
func relocateSubjects(d *draft) error {
	ownItems(d.object, "subjects", func(subject map[string]any) {
		name, _ := subject["name"].(string)
		switch subject["kind"] {
		case "ServiceAccount":
			if namespace, ok := subject["namespace"].(string); ok {
				subject["namespace"] = d.downstreamNamespace(namespace)
			}
		case "User":
			if rest, ok := strings.CutPrefix(name, serviceAccountUser); ok {
				subject["name"] = serviceAccountUser + d.relocateAccount(rest)
			}
		case "Group":
			if namespace, ok := strings.CutPrefix(name, serviceAccountGroup); ok {
				subject["name"] = serviceAccountGroup + d.downstreamNamespace(namespace)
			}
		}
	})
	return nil
}

// relocateAccount translates "namespace:name".
func (d *draft) relocateAccount(account string) string {
	namespace, name, ok := strings.Cut(account, ":")
	if !ok {
		return account
	}
	return d.downstreamNamespace(namespace) + ":" + name
}

// namespaceNameLabel is set by every API server on every namespace.
const namespaceNameLabel = "kubernetes.io/metadata.name"

// relocatePeers makes a policy mean the downstream namespaces where it names namespaces of the workspace.
func relocatePeers(d *draft) error {
	spec := own(d.object, "spec")
	for rules, peers := range map[string]string{"ingress": "from", "egress": "to"} {
		ownItems(spec, rules, func(rule map[string]any) {
			ownItems(rule, peers, d.relocateNamespaceSelector)
		})
	}
	return nil
}

// relocateNamespaceSelector translates the names in the namespaceSelector of a network peer or affinity term.
func (d *draft) relocateNamespaceSelector(holder map[string]any) {
	if labels := own(holder, "namespaceSelector", "matchLabels"); labels != nil {
		if name, ok := labels[namespaceNameLabel].(string); ok {
			labels[namespaceNameLabel] = d.selectedNamespace(name)
		}
	}
	if selector := own(holder, "namespaceSelector"); selector != nil {
		ownItems(selector, "matchExpressions", func(expression map[string]any) {
			if expression["key"] == namespaceNameLabel {
				translateStrings(expression, "values", d.selectedNamespace)
			}
		})
	}
}

// selectedNamespace is downstreamNamespace, but for the namespaces of Kubernetes itself: a policy that lets pods reach
// the DNS in kube-system means that of the cluster where the pods are.
func (d *draft) selectedNamespace(name string) string {
	if strings.HasPrefix(name, "kube-") {
		return name
	}
	return d.downstreamNamespace(name)
}

// relocateAffinity translates the namespaces that pod affinity terms name.
func relocateAffinity(d *draft) error {
	path := podSpecPath(d.resource)
	if look(d.object, append(path, "affinity")...) == nil {
		return nil
	}
	for _, kind := range []string{"podAffinity", "podAntiAffinity"} {
		affinity := own(d.object, append(path, "affinity", kind)...)
		if affinity == nil {
			continue
		}
		ownItems(affinity, "requiredDuringSchedulingIgnoredDuringExecution", d.relocateTerm)
		ownItems(affinity, "preferredDuringSchedulingIgnoredDuringExecution", func(weighted map[string]any) {
			if term := own(weighted, "podAffinityTerm"); term != nil {
				d.relocateTerm(term)
			}
		})
	}
	return nil
}

func (d *draft) relocateTerm(term map[string]any) {
	translateStrings(term, "namespaces", d.selectedNamespace)
	d.relocateNamespaceSelector(term)
}

// translateStrings replaces the strings of a list. The map that holds the list must be the draft's own.
func translateStrings(m map[string]any, name string, translate func(string) string) {
	values, ok := m[name].([]any)
	if !ok {
		return
	}
	values = slices.Clone(values)
	for i := range values {
		if value, ok := values[i].(string); ok {
			values[i] = translate(value)
		}
	}
	m[name] = values
}
