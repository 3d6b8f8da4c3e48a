package chaos

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var (
	settings = Slot{0, ConfigMap, "settings"}
	web      = Slot{1, Deployment, "web"}
)

// allIsWell is a state, and a picture in which it is reached.
func allIsWell() (Expected, Picture) {
	want := Expected{
		Model: &Model{Things: map[Slot]Thing{settings: {1, 4}, web: {2, 3}}, Homes: []Home{East, Both, West}},
		UIDs:  map[Slot]string{settings: "s", web: "w"}, Inhabited: map[string][]int{"west": {2}},
	}
	got := Picture{
		Up: map[Slot]Original{
			settings: {Thing: Thing{1, 4}, UID: "s", On: map[string]string{"east": "Sync"}, Claims: []string{"east"}},
			web:      {Thing: Thing{2, 3}, UID: "w", On: map[string]string{"east": "Sync", "west": "Sync"}, Claims: []string{"west", "east"}, Replicas: 2, Available: 2},
		},
		Down: map[string]map[Slot]Copied{
			"east": {settings: {Thing: Thing{1, 4}}, web: {Thing: Thing{2, 3}, Replicas: 1, Available: 1}},
			"west": {web: {Thing: Thing{2, 3}, Replicas: 1, Available: 1}},
		},
		Namespaces: map[string][]int{"east": {0, 1}, "west": {1, 2}},
		Unready:    map[string]string{},
	}
	return want, got
}

func up(slot Slot, change func(*Original)) func(*Expected, *Picture) {
	return func(_ *Expected, p *Picture) {
		o := p.Up[slot]
		change(&o)
		p.Up[slot] = o
	}
}

func down(target string, slot Slot, change func(*Copied)) func(*Expected, *Picture) {
	return func(_ *Expected, p *Picture) {
		c := p.Down[target][slot]
		change(&c)
		p.Down[target][slot] = c
	}
}

// A test that cannot fail is worth nothing: each way to be wrong is complained about.
func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		wrong func(*Expected, *Picture)
		says  string
	}{
		"all is well":                  {func(*Expected, *Picture) {}, ""},
		"an original is lost":          {func(_ *Expected, p *Picture) { delete(p.Up, settings) }, "LOST"},
		"another is in its place":      {up(settings, func(o *Original) { o.UID = "x" }), "LOST"},
		"an original is changed":       {up(settings, func(o *Original) { o.Thing.Value = 5 }), "in its workspace"},
		"an original does not fit":     {up(settings, func(o *Original) { o.Misfit = "spoiled" }), "spoiled"},
		"an original is being deleted": {up(settings, func(o *Original) { o.Deleting = true }), "nobody asked"},
		"an original lingers":          {func(e *Expected, _ *Picture) { delete(e.Things, settings) }, "still in its workspace"},
		"it is in trouble":             {up(settings, func(o *Original) { o.Trouble = "rejected" }), "rejected"},
		"it is not assigned":           {up(settings, func(o *Original) { o.On = nil }), "assigned to east: false"},
		"it waits":                     {up(settings, func(o *Original) { o.On = map[string]string{"east": ""} }), "assigned to east"},
		"it is assigned elsewhere too": {up(settings, func(o *Original) { o.On["west"] = "Sync" }), "assigned to west: true"},
		"it is not claimed":            {up(settings, func(o *Original) { o.Claims = nil }), "claimed by east: false"},
		"it is claimed by another":     {up(settings, func(o *Original) { o.Claims = []string{"east", "west"} }), "claimed by west: true"},
		"the status did not come home": {up(web, func(o *Original) { o.Available = 1 }), "status says that 1"},
		"the status is stale":          {up(web, func(o *Original) { o.Stale = true }), "stale"},
		"there is no copy":             {func(_ *Expected, p *Picture) { delete(p.Down["west"], web) }, "no copy on west"},
		"a copy is old":                {down("east", settings, func(c *Copied) { c.Thing.Value = 3 }), "its copy on east"},
		"a copy is of one before":      {down("east", web, func(c *Copied) { c.Thing.Incarnation = 1 }), "its copy on east"},
		"a copy is spoiled":            {down("east", settings, func(c *Copied) { c.Misfit = "spoiled" }), "spoiled"},
		"a copy is being deleted":      {down("east", settings, func(c *Copied) { c.Deleting = true }), "being deleted"},
		"the cluster does not run it":  {down("east", web, func(c *Copied) { c.Available = 0 }), "copies' that 1 are"},
		"replicas run twice":           {down("east", web, func(c *Copied) { c.Replicas = 2 }), "want 3 replicas"},
		"a copy is left behind": {func(_ *Expected, p *Picture) {
			p.Down["west"][settings] = Copied{Thing: Thing{1, 4}}
		}, "no business on west"},
		"a copy outlives its original": {func(e *Expected, p *Picture) {
			delete(e.Things, settings)
			delete(p.Up, settings)
		}, "no business on east"},
		"a namespace is left over": {func(_ *Expected, p *Picture) { p.Namespaces["east"] = []int{0, 1, 2} }, "still has a namespace for workspace 2"},
		"the cluster is not done with a namespace": {func(_ *Expected, p *Picture) {
			p.Namespaces["east"], p.Occupied = []int{0, 1, 2}, map[string][]int{"east": {2}}
		}, ""},
		"a namespace is missing": {func(_ *Expected, p *Picture) { p.Namespaces["west"] = []int{2} }, "no namespace for workspace 1"},
		"something is nobody's":  {func(_ *Expected, p *Picture) { p.Unknown = []string{"x"} }, "no copy of anything"},
		"a target is not ready":  {func(_ *Expected, p *Picture) { p.Unready["east"] = "silent" }, "silent"},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := allIsWell()
			want.Things = maps.Clone(want.Things)
			tc.wrong(&want, &got)
			said := strings.Join(Judge(want, got), "\n")
			if tc.says == "" && said != "" || !strings.Contains(said, tc.says) {
				t.Errorf("the judge says %q, want %q", said, tc.says)
			}
		})
	}
}

func TestTroubleThatIsNoFightWithAVandal(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	const fight = `{"type":"Synced","status":"False","reason":"DriftFight","message":"field data.a was changed downstream again and again, by vandal","lastTransitionTime":"2026-11-26T02:%s:00Z"}`
	for name, test := range map[string]struct {
		conditions string
		trouble    bool
	}{
		"none":                        {"", false},
		"a fight with a vandal":       {"[" + fmt.Sprintf(fight, "51") + "]", false},
		"one that should be over":     {"[" + fmt.Sprintf(fight, "49") + "]", true},
		"one with somebody else":      {"[" + strings.Replace(fmt.Sprintf(fight, "51"), "by vandal", "by kubectl", 1) + "]", true},
		"a fight and something else":  {"[" + fmt.Sprintf(fight, "51") + `,{"type":"Quarantined","reason":"Rejected"}]`, true},
		"something that is no answer": {"{", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := troubleIn(test.conditions, now); (got != "") != test.trouble {
				t.Errorf("trouble is %q", got)
			}
		})
	}
}

func TestChangedStrangers(t *testing.T) {
	before := map[string]string{"a": "1", "b": "2", "c": "3"}
	if said := Changed(before, maps.Clone(before)); len(said) > 0 {
		t.Errorf("unchanged: %v", said)
	}
	said := Changed(before, map[string]string{"a": "1", "b": "x"})
	if len(said) != 2 || !strings.Contains(said[0], "b was changed") || !strings.Contains(said[1], "c is gone") {
		t.Errorf("the judge says %q", said)
	}
}

func TestLeaked(t *testing.T) {
	before := Footprint{Goroutines: 100, Heap: 20 << 20}
	for name, tc := range map[string]struct {
		now  Footprint
		says string
	}{
		"as before":       {before, ""},
		"a little more":   {Footprint{130, 30 << 20}, ""},
		"less":            {Footprint{50, 10 << 20}, ""},
		"more goroutines": {Footprint{170, 20 << 20}, "170 goroutines"},
		"more heap":       {Footprint{100, 60 << 20}, "60 MiB"},
	} {
		if said := Leaked("x", before, tc.now); (said == "") != (tc.says == "") || !strings.Contains(said, tc.says) {
			t.Errorf("%s: %q, want %q", name, said, tc.says)
		}
	}
}

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// told is an audit event of a successful write.
func told(verb, resource, namespace, name, uid string, seconds int) AuditEvent {
	e := AuditEvent{Verb: verb, Stage: "ResponseComplete", Received: metav1.NewMicroTime(at(seconds))}
	e.ObjectRef.Resource, e.ObjectRef.Namespace, e.ObjectRef.Name = resource, namespace, name
	e.ResponseStatus.Code = 200
	if verb == "delete" {
		e.RequestObject.Preconditions.UID = uid
		return e
	}
	e.ResponseObject.Metadata.Name, e.ResponseObject.Metadata.UID = name, uid
	e.ResponseObject.Metadata.Labels = map[string]string{workloadv1alpha1.DownstreamClusterLabel: "key", incarnationLabel: "1"}
	return e
}

func with(e AuditEvent, change func(*AuditEvent)) AuditEvent {
	change(&e)
	return e
}

// The story: settings of workspace 0 is deleted at second 10 and made anew; workspace 1 moves from both to west at 20 and back
// at 100. All is on east at the beginning.
func TestAuditor(t *testing.T) {
	model := &Model{Things: map[Slot]Thing{settings: {1, 1}, {0, Secret, "other"}: {1, 1}, web: {1, 1}}, Homes: []Home{East, Both}}
	history := NewHistory(model)
	history.Settle(model)
	history.Note(Act{Verb: Delete, Slot: settings, Thing: Thing{1, 1}}, at(10))
	history.Note(Act{Verb: Create, Slot: settings, Thing: Thing{2, 1}}, at(11))
	history.Note(Act{Verb: Move, Slot: Slot{Workspace: 1}, To: West}, at(20))
	history.Note(Act{Verb: Move, Slot: Slot{Workspace: 1}, To: Both}, at(100))

	made := []AuditEvent{
		told("create", "configmaps", "n0", "settings", "s1", 1), told("create", "secrets", "n0", "other", "o1", 1), told("create", "deployments", "n1", "web", "w1", 1),
		with(told("create", "configmaps", "n0", "settings", "s2", 12), func(e *AuditEvent) { e.ResponseObject.Metadata.Labels[incarnationLabel] = "2" }),
	}
	for name, tc := range map[string]struct {
		event AuditEvent
		says  string
	}{
		"a copy is changed":     {told("patch", "configmaps", "n0", "settings", "s1", 5), ""},
		"a stranger is changed": {with(told("patch", "configmaps", "x", "y", "z", 5), func(e *AuditEvent) { e.ResponseObject.Metadata.Labels = nil }), "mark"},
		"another target's copy is changed": {with(told("update", "configmaps", "x", "y", "z", 5), func(e *AuditEvent) {
			e.ResponseObject.Metadata.Labels[workloadv1alpha1.DownstreamClusterLabel] = "other"
		}), "mark"},
		"the lease is renewed":                 {with(told("update", "leases", "x", "y", "z", 5), func(e *AuditEvent) { e.ResponseObject.Metadata.Labels = nil }), ""},
		"a node is changed":                    {told("patch", "nodes", "", "node", "z", 5), "not of a kind"},
		"what failed does not count":           {with(told("delete", "configmaps", "n0", "settings", "", 5), func(e *AuditEvent) { e.ResponseStatus.Code = 404 }), ""},
		"a deletion of many":                   {told("deletecollection", "configmaps", "n0", "", "", 15), "never"},
		"a deletion by name":                   {told("delete", "configmaps", "n0", "settings", "", 15), "by UID"},
		"a deletion after the original's":      {told("delete", "configmaps", "n0", "settings", "s1", 15), ""},
		"a deletion before the original's":     {told("delete", "configmaps", "n0", "settings", "s1", 9), "without evidence"},
		"a deletion of the next incarnation":   {told("delete", "configmaps", "n0", "settings", "s2", 15), "without evidence"},
		"a deletion of what nobody deleted":    {told("delete", "secrets", "n0", "other", "o1", 15), "without evidence"},
		"a deletion of one that nobody knows":  {told("delete", "secrets", "n0", "other", "o9", 15), "without evidence"},
		"a deletion of one known by name":      {told("delete", "configmaps", "n0", "settings", "s9", 15), ""},
		"a deletion in a stranger's namespace": {told("delete", "configmaps", "x", "settings", "z", 15), "no namespace of a workspace"},
		"a deletion for a move":                {told("delete", "deployments", "n1", "web", "w1", 25), ""},
		"a deletion before a move":             {told("delete", "deployments", "n1", "web", "w1", 19), "without evidence"},
		"a deletion just after the move back":  {told("delete", "deployments", "n1", "web", "w1", 110), ""},
		"a deletion long after the move back":  {told("delete", "deployments", "n1", "web", "w1", 200), "without evidence"},
		"a namespace goes with a move":         {told("delete", "namespaces", "", "n1", "n", 30), ""},
		"a namespace goes before":              {told("delete", "namespaces", "", "n1", "n", 15), "nobody has deleted"},
		"a namespace goes with something in":   {told("delete", "namespaces", "", "n0", "n", 15), "nobody has deleted Secret 0/other"},
		"a stranger's namespace goes":          {told("delete", "namespaces", "", "strangers", "n", 15), "no namespace of a workspace"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Auditor{Target: "east", Key: "key", History: history, Workspace: func(namespace string) (int, bool) {
				workspace, ours := map[string]int{"n0": 0, "n1": 1}[namespace]
				return workspace, ours
			}}
			for _, e := range made {
				if said := a.Judge(e); len(said) > 0 {
					t.Fatalf("the copies: %q", said)
				}
			}
			said := strings.Join(a.Judge(tc.event), "\n")
			if tc.says == "" && said != "" || !strings.Contains(said, tc.says) {
				t.Errorf("the judge says %q, want %q", said, tc.says)
			}
		})
	}
}

func TestAuditLines(t *testing.T) {
	event, ok := ParseAudit([]byte(`{"kind":"Event","verb":"delete","stage":"ResponseComplete","objectRef":{"resource":"secrets","namespace":"n","name":"x"},"responseStatus":{"code":200},
		"requestObject":{"kind":"DeleteOptions","preconditions":{"uid":"u"}},"requestReceivedTimestamp":"2030-01-01T12:00:00.123456Z"}`))
	if !ok || event.Verb != "delete" || event.ObjectRef.Name != "x" || event.ResponseStatus.Code != 200 || event.RequestObject.Preconditions.UID != "u" || event.Received.IsZero() {
		t.Errorf("%t, %+v", ok, event)
	}
	if _, ok := ParseAudit([]byte(`{"kind":"Event","verb":"del`)); ok {
		t.Error("half a line is taken for one")
	}
}

// An object that was made of a thing is read as that thing, and not when a vandal was there.
func TestThingsAreReadAsTheyWereMade(t *testing.T) {
	for _, kind := range Kinds {
		for _, thing := range []Thing{{1, 1}, {3, 40000}} {
			u := Object(Slot{0, kind, "x"}, thing)
			if got, err := Read(u); err != nil || got != thing {
				t.Errorf("%s %+v is read as %+v, %v", kind, thing, got, err)
			}
			merge(u.Object, Spoiled(kind))
			if _, err := Read(u); err == nil {
				t.Errorf("a spoiled %s goes for a whole one", kind)
			}
		}
	}
}

func merge(into, patch map[string]any) {
	for field, value := range patch {
		inner, isMap := value.(map[string]any)
		there, was := into[field].(map[string]any)
		if isMap && was {
			merge(there, inner)
			continue
		}
		into[field] = value
	}
}
