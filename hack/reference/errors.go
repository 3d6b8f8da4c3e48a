package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// categories is the file whose comments say what each category means.
const categories = "pkg/reconciler/workload/tmc/category.go"

// forReaders of the code is what refers to other code.
var forReaders = regexp.MustCompile(` See \[\w+\][^.]*\.`)

// errorCategories is the reference of what errors are sorted into.
func errorCategories() (string, error) {
	source, err := os.ReadFile(categories)
	if err != nil {
		return "", err
	}
	meanings := map[string]string{}
	for _, found := range regexp.MustCompile(`(?m)^\t// (\w+) means: ((?:.*\n\t// )*.*)\n\t\w+ +Category = `).FindAllStringSubmatch(string(source), -1) {
		meanings[found[1]] = forReaders.ReplaceAllString(strings.ReplaceAll(found[2], "\n\t// ", " "), "")
	}
	var page strings.Builder
	page.WriteString("# Errors\n\n" +
		"Every error is sorted into one of these categories where it comes from. The category decides how it is tried again, is the label `category`\n" +
		"or `result` of metrics and the status of spans, and shows in conditions, Events and `/debug/recovery`. What else is done about errors that\n" +
		"last is in the [operator guide](../operating.md#when-something-fails).\n\n" +
		"| category | about | what it means | severity | tried again | what to do |\n|---|---|---|---|---|---|\n")
	for _, c := range tmc.Categories() {
		meaning, ok := meanings[string(c)]
		if !ok {
			return "", fmt.Errorf("no comment in %s says what %s means", categories, c)
		}
		full := func() float64 { return 0 }
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s | after %s, up to %s | %s |\n", c, c.Domain(), text(capitalized(meaning)), c.Severity(),
			tmc.Backoff(c, 1, full), tmc.Backoff(c, 100, full), text(capitalized(c.Hint())))
	}
	return page.String(), nil
}

func capitalized(sentence string) string { return strings.ToUpper(sentence[:1]) + sentence[1:] }
