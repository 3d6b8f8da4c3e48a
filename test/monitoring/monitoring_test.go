package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

// promtool runs Prometheus' own tool, of the pinned version.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), root+"/hack/tools/tool", "prometheus", "promtool").Output()
	if err != nil {
		t.Fatalf("building promtool: %v", err)
	}
	command := exec.CommandContext(t.Context(), strings.TrimSpace(string(path)), args...)
	command.Dir = root + "/" + rulesFolder
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// ruleFile is what Prometheus reads.
type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Record      string            `json:"record"`
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func rulesIn(t *testing.T, name string) (rules []rule) {
	t.Helper()
	var file ruleFile
	if err := yaml.Unmarshal([]byte(read(t, rulesFolder+"/"+name)), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

// The rules are well-formed, and fire when they should and not otherwise, by Prometheus' own judgement.
func TestRules(t *testing.T) {
	promtool(t, "check", "config", "prometheus.yaml")
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "recording.rules.yaml", "alerts.rules.yaml")
	promtool(t, "test", "rules", "alerts.test.yaml")
}

// Every alert has been seen to fire, says what it is about, and leads to a paragraph that says what to do.
func TestEveryAlertIsTestedAndExplained(t *testing.T) {
	tests, page := read(t, rulesFolder+"/alerts.test.yaml"), read(t, "docs/alerts.md")
	alerts := rulesIn(t, "alerts.rules.yaml")
	for _, alert := range alerts {
		if !strings.Contains(tests, fmt.Sprintf("alertname=%q", alert.Alert)) {
			t.Errorf("%s fires in no test", alert.Alert)
		}
		if severity := alert.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", alert.Alert, severity)
		}
		for _, annotation := range []string{"summary", "description"} {
			if alert.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", alert.Alert, annotation)
			}
		}
		if want := "https://github.com/kcp-dev/workload-syncer/blob/main/docs/alerts.md#" + strings.ToLower(alert.Alert); alert.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %s, want %s", alert.Alert, alert.Annotations["runbook_url"], want)
		}
		if !strings.Contains(page, "\n### "+alert.Alert+"\n") {
			t.Errorf("docs/alerts.md does not explain %s", alert.Alert)
		}
	}
	for _, explained := range regexp.MustCompile(`(?m)^### (Workload\w+)$`).FindAllStringSubmatch(page, -1) {
		if !slices.ContainsFunc(alerts, func(r rule) bool { return r.Alert == explained[1] }) {
			t.Errorf("docs/alerts.md explains %s, which does not exist", explained[1])
		}
	}
}

// known are the metrics that can be asked for, with their labels: those of both programs by their reference, which is generated from
// the programs, those of the libraries, and the recorded ones.
func known(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{"up": nil, "process_cpu_seconds_total": nil, "process_resident_memory_bytes": nil, "go_memstats_heap_alloc_bytes": nil, "go_goroutines": nil}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(read(t, "docs/reference/metrics.md"), -1) {
		var labels []string
		for _, label := range strings.Fields(row[2]) {
			labels = append(labels, strings.Trim(label, "`"))
		}
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			all[row[1]+suffix] = labels
		}
	}
	for _, r := range rulesIn(t, "recording.rules.yaml") {
		grouped := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(r.Expr)
		all[r.Record] = strings.Split(strings.ReplaceAll(grouped[1], " ", ""), ",")
	}
	return all
}

// Labels that Prometheus adds, and that of the buckets.
var addedLabels = []string{"job", "instance", "cluster", "le"}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	grouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	ranges   = regexp.MustCompile(`\[[^\]]*\]`)
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\}|\()?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)`)
)

// strays are the metrics and labels in an expression that nothing has.
func strays(expr string, known map[string][]string) (found []string) {
	for _, group := range grouping.FindAllString(expr, -1) {
		_, labels, _ := strings.Cut(group, "(")
		for _, label := range regexp.MustCompile(`[a-z_]+`).FindAllString(labels, -1) {
			if !slices.Contains(addedLabels, label) && !slices.ContainsFunc(slices.Collect(maps.Values(known)), func(labels []string) bool { return slices.Contains(labels, label) }) {
				found = append(found, "label "+label)
			}
		}
	}
	text := ranges.ReplaceAllString(grouping.ReplaceAllString(quoted.ReplaceAllString(expr, `""`), ""), "")
	for _, match := range selector.FindAllStringSubmatch(text, -1) {
		name, rest := match[1], match[2]
		if rest == "(" || slices.Contains([]string{"and", "or", "unless", "bool"}, name) {
			continue
		}
		labels, ok := known[name]
		if !ok {
			found = append(found, name)
			continue
		}
		for _, m := range matcher.FindAllStringSubmatch(rest, -1) {
			if !slices.Contains(labels, m[1]) && !slices.Contains(addedLabels, m[1]) {
				found = append(found, name+"{"+m[1]+"}")
			}
		}
	}
	return found
}

func TestStrays(t *testing.T) {
	known := map[string][]string{"a_total": {"state"}, "b_bucket": {"verb"}}
	for expr, want := range map[string]string{
		`sum by (state) (rate(a_total{state=~"x|y", job="z"}[5m])) > 0`:    "",
		`histogram_quantile(0.99, sum by (verb, le) (rate(b_bucket[5m])))`: "",
		`rate(c_total[5m]) / a_total`:                                      "c_total",
		`a_total{verb="x"} unless on (state) b_bucket`:                     "a_total{verb}",
		`sum by (kind) (a_total)`:                                          "label kind",
	} {
		if got := strings.Join(strays(expr, known), " "); got != want {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

// Rules ask for nothing that no program tells.
func TestRulesAskForWhatExists(t *testing.T) {
	known := known(t)
	for _, r := range append(rulesIn(t, "recording.rules.yaml"), rulesIn(t, "alerts.rules.yaml")...) {
		for _, stray := range strays(r.Expr, known) {
			t.Errorf("%s%s asks for %s, which does not exist", r.Record, r.Alert, stray)
		}
	}
}

// Dashboards ask for nothing that no program tells, in expressions that Prometheus understands; and every panel says what it
// shows, in which unit, at a place of its own.
func TestDashboards(t *testing.T) {
	known := known(t)
	queries := ruleFile{}
	queries.Groups = append(queries.Groups, struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}{Name: "panels"})
	uids := map[string]bool{}
	for _, name := range dashboards {
		d, err := readDashboard(root, name)
		if err != nil {
			t.Fatal(err)
		}
		if d.UID == "" || uids[d.UID] || d.Title == "" || d.Description == "" || d.SchemaVersion == 0 || len(d.Panels) < 15 {
			t.Errorf("%s: uid %q, title %q, %d panels", name, d.UID, d.Title, len(d.Panels))
		}
		uids[d.UID] = true
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			where := name + ": " + p.Title
			if p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: the id %d is no id of its own", where, p.ID)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x > 23 {
						t.Fatalf("%s lies on %s, or beside the dashboard", where, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.row() {
				continue
			}
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s: description %q, unit %q, %d queries", where, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets))
			}
			for _, q := range p.Targets {
				expr := q.query("east", "5m")
				for _, stray := range strays(expr, known) {
					t.Errorf("%s asks for %s, which does not exist", where, stray)
				}
				if strings.Contains(expr, "$") || q.LegendFormat == "" {
					t.Errorf("%s: %s has the legend %q", where, expr, q.LegendFormat)
				}
				if strings.Contains(expr, "histogram_quantile") != q.Exemplar {
					t.Errorf("%s: exemplars belong to latencies: %s", where, expr)
				}
				queries.Groups[0].Rules = append(queries.Groups[0].Rules, rule{Record: fmt.Sprintf("query_%d", len(queries.Groups[0].Rules)), Expr: expr})
			}
		}
	}
	raw, err := yaml.Marshal(queries)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
