package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConditions(t *testing.T) {
	for _, test := range []struct{ name, source, want, wantErr string }{{
		name:   "a block is a section, its reasons are a table",
		source: "// Condition A: all\n// is well.\nconst (\n\tA = \"Good\"\n\n\t// Status True. It works | really.\n\tR = \"Works\"\n)\n",
		want:   "## Good\n\nCondition A: all is well.\n\n| reason | status | meaning |\n|---|---|---|\n| `Works` | True | It works \\| really. |\n",
	}, {
		name:    "a reason without a status",
		source:  "const (\n\tA = \"Good\"\n\t// It works.\n\tR = \"Works\"\n)\n",
		wantErr: "comment of reason Works must begin with",
	}, {
		name:    "a condition without a reason",
		source:  "const (\n\tA = \"Good\"\n)\n",
		wantErr: "at least one reason",
	}} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			source, target := filepath.Join(dir, "c.go"), filepath.Join(dir, "docs", "c.md")
			if err := os.WriteFile(source, []byte("package p\n\n"+test.source), 0o600); err != nil {
				t.Fatal(err)
			}
			err := generateConditions(source, target)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got %v, want %q", err, test.wantErr)
				}
				return
			}
			got, readErr := os.ReadFile(target)
			if err != nil || readErr != nil || !strings.HasSuffix(string(got), test.want) {
				t.Errorf("got %q, %v, %v", got, err, readErr)
			}
		})
	}
}
