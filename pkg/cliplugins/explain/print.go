package explain

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// Print writes the report: as a tree, or as data if format is json or yaml.
func Print(out io.Writer, report Report, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	case "yaml":
		raw, err := yaml.Marshal(report)
		if err != nil {
			return err
		}
		_, err = out.Write(raw)
		return err
	}
	var page strings.Builder
	fmt.Fprintf(&page, "%s in %s: %s\n", report.Object, report.Workspace, report.Verdict)
	printHops(&page, report.Hops, "")
	for i, next := range report.Next {
		if i == 0 {
			page.WriteString("\nWhat to do:\n")
		}
		fmt.Fprintf(&page, "  %s\n", strings.ReplaceAll(next, "\n", "\n  "))
	}
	_, err := io.WriteString(out, page.String())
	return err
}

// marks are what states look like.
var marks = map[State]string{OK: "✓", Pending: "…", Problem: "✗", Unknown: "?", Info: "·"}

func printHops(page *strings.Builder, hops []Hop, indent string) {
	width := 0
	for _, hop := range hops {
		width = max(width, len(hop.Name))
	}
	for i, hop := range hops {
		branch, below := "├─", "│  "
		if i == len(hops)-1 {
			branch, below = "└─", "   "
		}
		fmt.Fprintf(page, "%s%s %s %-*s  %s\n", indent, branch, marks[hop.State], width, hop.Name, strings.ReplaceAll(hop.Says, "\n", "\n"+indent+below+strings.Repeat(" ", width+4)))
		printHops(page, hop.Hops, indent+below)
	}
}

// CheckFormat reads the value of --output.
func CheckFormat(value string) error {
	if value != "" && value != "json" && value != "yaml" {
		return fmt.Errorf("--output=%s: must be json or yaml, or be left out for a tree", value)
	}
	return nil
}
