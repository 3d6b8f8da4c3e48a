package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// History is when users asked for what: the evidence for deletions of copies. Nobody else gives any.
type History struct {
	mu      sync.Mutex
	deleted map[Slot]map[int]time.Time
	stays   map[int][]stay
	settled *Model
}

// stay is a time in which a workspace had that home. Work is seen off for as long as that takes, so the end of one
// stay and the beginning of the next meet.
type stay struct {
	home  Home
	since time.Time
}

// NewHistory begins with where the workspaces are.
func NewHistory(model *Model) *History {
	h := &History{deleted: map[Slot]map[int]time.Time{}, stays: map[int][]stay{}, settled: NewModel(Size{})}
	for workspace, home := range model.Homes {
		h.stays[workspace] = []stay{{home: home}}
	}
	return h
}

// Note is called just before a user does something for the first time.
func (h *History) Note(act Act, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch act.Verb {
	case Delete:
		if h.deleted[act.Slot] == nil {
			h.deleted[act.Slot] = map[int]time.Time{}
		}
		h.deleted[act.Slot][act.Thing.Incarnation] = at
	case Move:
		h.stays[act.Slot.Workspace] = append(h.stays[act.Slot.Workspace], stay{act.To, at})
	case Create, Update, Spoil, Destroy:
	}
}

// Settle is called when both sides have come together in that state.
func (h *History) Settle(model *Model) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled = model
}

// unknown is the incarnation of a copy of which nothing but the name is known.
const unknown = -1

// mayDelete is why a copy may be deleted at that time; empty if there is no reason.
func (h *History) mayDelete(target string, slot Slot, incarnation int, at time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for deleted, asked := range h.deleted[slot] {
		if (deleted == incarnation || incarnation == unknown) && !at.Before(asked) {
			return "its original was deleted"
		}
	}
	if h.left(target, slot.Workspace, at) {
		return "its workspace was moved"
	}
	return ""
}

// seeingOff is how long after the move back a copy may still be seen off for the move before.
const seeingOff = time.Minute

// left is whether the workspace's work was to leave the target at that time.
func (h *History) left(target string, workspace int, at time.Time) bool {
	stays := h.stays[workspace]
	for i := 1; i < len(stays); i++ {
		if !stays[i-1].home.Has(target) || stays[i].home.Has(target) || at.Before(stays[i].since) {
			continue
		}
		back := slices.IndexFunc(stays[i:], func(s stay) bool { return s.home.Has(target) })
		if back < 0 || at.Before(stays[i+back].since.Add(seeingOff)) {
			return true
		}
	}
	return false
}

// mayEmpty is why the namespace of a workspace may not go from the target at that time; empty if it may.
func (h *History) mayNotGo(target string, workspace int, at time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left(target, workspace, at) {
		return ""
	}
	for slot, thing := range h.settled.Things {
		if slot.Workspace != workspace || !h.settled.Homes[workspace].Has(target) {
			continue
		}
		if asked, ok := h.deleted[slot][thing.Incarnation]; !ok || at.Before(asked) {
			return fmt.Sprintf("nobody has deleted %s", slot)
		}
	}
	return ""
}

// AuditPolicy has an API server tell all that the ServiceAccounts of a namespace write.
func AuditPolicy(namespace string) string {
	return fmt.Sprintf(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: RequestResponse, userGroups: ["system:serviceaccounts:%s"], verbs: [create, update, patch, delete, deletecollection]}
- {level: None}
`, namespace)
}

// AuditEvent is what the judge needs of an API server's audit event.
type AuditEvent struct {
	Verb      string `json:"verb"`
	Stage     string `json:"stage"`
	ObjectRef struct {
		Resource, Namespace, Name, Subresource string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestObject struct {
		Preconditions struct {
			UID string `json:"uid"`
		} `json:"preconditions"`
	} `json:"requestObject"`
	ResponseObject struct {
		Metadata struct {
			Name   string            `json:"name"`
			UID    string            `json:"uid"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	} `json:"responseObject"`
	Received metav1.MicroTime `json:"requestReceivedTimestamp"`
}

// ParseAudit reads a line. Not ok is one that a killed server did not finish.
func ParseAudit(line []byte) (event AuditEvent, ok bool) {
	return event, json.Unmarshal(line, &event) == nil
}

// Auditor judges what a syncer writes to its cluster.
type Auditor struct {
	Target string
	// Key marks the target's objects.
	Key string
	// Workspace is that of a namespace of the target.
	Workspace func(namespace string) (int, bool)
	History   *History

	copies map[string]copyOf
	// Counts of what was judged.
	Writes, Deletes, ByName, NamespaceDeletes int
}

type copyOf struct {
	slot        Slot
	incarnation int
}

// ownAffairs are resources that a syncer writes for itself.
var ownAffairs = []string{"leases", "events", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}

// Judge tells what is wrong with a write.
func (a *Auditor) Judge(event AuditEvent) (complaints []string) {
	ref := event.ObjectRef
	if event.Stage != "ResponseComplete" || event.ResponseStatus.Code >= 300 || slices.Contains(ownAffairs, ref.Resource) {
		return nil
	}
	a.Writes++
	complain := func(format string, args ...any) []string {
		return []string{fmt.Sprintf("AUDIT: at %s the syncer of %s %s %s %s/%s: ", event.Received.Format("15:04:05.000"), a.Target, past(event.Verb), ref.Resource, ref.Namespace, ref.Name) + fmt.Sprintf(format, args...)}
	}
	kind := kindOf(ref.Resource)
	if kind == "" && ref.Resource != "namespaces" {
		return complain("it is not of a kind that the script plays with")
	}
	switch event.Verb {
	case "delete":
		if event.RequestObject.Preconditions.UID == "" {
			return complain("without saying which one, by UID")
		}
		if reason := a.judgeDelete(event, kind); reason != "" {
			return complain("without evidence: %s", reason)
		}
	case "create", "update", "patch":
		if event.ResponseObject.Metadata.Labels[workloadv1alpha1.DownstreamClusterLabel] != a.Key {
			return complain("it does not have the target's mark")
		}
		a.remember(event, kind)
	default:
		return complain("a syncer never does that")
	}
	return nil
}

func past(verb string) string { return strings.TrimSuffix(verb, "e") + "ed" }

func (a *Auditor) remember(event AuditEvent, kind Kind) {
	metadata := event.ResponseObject.Metadata
	workspace, ours := a.Workspace(event.ObjectRef.Namespace)
	if event.Verb != "create" || kind == "" || !ours {
		return
	}
	if a.copies == nil {
		a.copies = map[string]copyOf{}
	}
	incarnation := unknown
	_, _ = fmt.Sscan(metadata.Labels[incarnationLabel], &incarnation)
	a.copies[metadata.UID] = copyOf{Slot{workspace, kind, metadata.Name}, incarnation}
}

// judgeDelete is why the deletion is wrong; empty if it is right.
func (a *Auditor) judgeDelete(event AuditEvent, kind Kind) string {
	at, ref := event.Received.Time, event.ObjectRef
	if kind == "" {
		workspace, ours := a.Workspace(ref.Name)
		if !ours {
			return "it is no namespace of a workspace"
		}
		a.NamespaceDeletes++
		return a.History.mayNotGo(a.Target, workspace, at)
	}
	a.Deletes++
	deleted, known := a.copies[event.RequestObject.Preconditions.UID]
	if !known { // an API server that is killed may have done something and not told of it
		workspace, ours := a.Workspace(ref.Namespace)
		if !ours {
			return "it is in no namespace of a workspace"
		}
		a.ByName++
		deleted = copyOf{Slot{workspace, kind, ref.Name}, unknown}
	}
	if a.History.mayDelete(a.Target, deleted.slot, deleted.incarnation, at) == "" {
		return fmt.Sprintf("nobody has deleted incarnation %d of %s, or moved its workspace", deleted.incarnation, deleted.slot)
	}
	return ""
}
