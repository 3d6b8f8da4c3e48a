package tmc

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Handler serves /livez, /readyz and /healthz (the same as /readyz, for those who know only that), each also with the
// name of one check below it. As with the Kubernetes components, ?verbose lists every check, and ?exclude=<name>
// leaves checks out; may be repeated, or list several with commas. A failing check makes the answer 500, with the
// failed checks and their reasons also when it is not verbose. The worst come first; what is degraded is marked [!] and fails
// nothing.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	live := func(c Check) bool { return c.Kind == Liveness }
	all := func(Check) bool { return true }
	for path, wanted := range map[string]func(Check) bool{"livez": live, "readyz": all, "healthz": all} {
		mux.HandleFunc("/"+path, func(w http.ResponseWriter, r *http.Request) { h.serveAll(w, r, path, wanted) })
		mux.HandleFunc("/"+path+"/{check...}", func(w http.ResponseWriter, r *http.Request) { h.serveOne(w, r, wanted) })
	}
	return mux
}

func (h *Health) serveAll(w http.ResponseWriter, r *http.Request, path string, wanted func(Check) bool) {
	excluded := excludedChecks(r)
	included := func(c Check) bool { return wanted(c) && !slices.Contains(excluded, c.Name) }
	results := h.ask(r.Context(), included)

	var out strings.Builder
	for _, c := range h.wanted(wanted) {
		if slices.Contains(excluded, c.Name) {
			fmt.Fprintf(&out, "[+]%s excluded: ok\n", c.Name)
			excluded = slices.DeleteFunc(excluded, func(name string) bool { return name == c.Name })
		}
	}
	if len(excluded) > 0 {
		fmt.Fprintf(&out, "warn: some health checks cannot be excluded: no matches for %q\n", excluded)
	}
	failed := false
	for _, result := range WorstFirst(results) {
		failed = failed || result.Level() > LevelDegraded
		writeResult(&out, result)
	}
	answer(w, r, failed, out.String(), path)
}

func answer(w http.ResponseWriter, r *http.Request, failed bool, details, path string) {
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-cache, private")
	_, verbose := r.URL.Query()["verbose"]
	switch {
	case failed:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", details, path)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", details, path)
	default:
		fmt.Fprint(w, "ok")
	}
}

func (h *Health) serveOne(w http.ResponseWriter, r *http.Request, wanted func(Check) bool) {
	name := r.PathValue("check")
	results := h.ask(r.Context(), func(c Check) bool { return wanted(c) && c.Name == name })
	if len(results) == 0 {
		http.NotFound(w, r)
		return
	}
	switch result := results[0]; result.Level() {
	case Healthy:
		fmt.Fprint(w, "ok")
	case LevelDegraded:
		fmt.Fprint(w, "degraded: "+reason(result.Err))
	default:
		http.Error(w, "check failed: "+reason(result.Err), http.StatusInternalServerError)
	}
}

func writeResult(out *strings.Builder, r Result) {
	switch r.Level() {
	case Healthy:
		fmt.Fprintf(out, "[+]%s ok\n", r.Name)
	case LevelDegraded:
		fmt.Fprintf(out, "[!]%s degraded: %s\n", r.Name, reason(r.Err))
	default:
		fmt.Fprintf(out, "[-]%s failed: %s\n", r.Name, reason(r.Err))
	}
}

func excludedChecks(r *http.Request) []string {
	var names []string
	for _, value := range r.URL.Query()["exclude"] {
		for name := range strings.SplitSeq(value, ",") {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
