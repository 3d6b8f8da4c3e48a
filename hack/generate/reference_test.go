package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConditions(t *testing.T) {
	for _, test := range []struct{ name, source, want, wantErr string }{{
		name:   "a block is a section, its reasons are a table",
		source: "// Condition A of a thing: all\n// is well.\nconst (\n\tA = \"Good\"\n\n\t// Status True. It works | really.\n\tR = \"Works\"\n)\n",
		want:   "# Conditions\n\n## example.com\n\n### Good of a thing\n\nCondition A of a thing: all is well.\n\n| reason | status | meaning |\n|---|---|---|\n| `Works` | True | It works \\| really. |\n",
	}, {
		name:    "a reason without a status",
		source:  "// Condition A of a thing: good.\nconst (\n\tA = \"Good\"\n\t// It works.\n\tR = \"Works\"\n)\n",
		wantErr: "comment of reason Works must begin with",
	}, {
		name:    "a condition of nobody",
		source:  "const (\n\tA = \"Good\"\n\t// Status True. It works.\n\tR = \"Works\"\n)\n",
		wantErr: "must begin with \"Condition Good of a ...:\"",
	}, {
		name:    "a condition without a reason",
		source:  "const (\n\tA = \"Good\"\n)\n",
		wantErr: "at least one reason",
	}} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			g := group{name: "example.com", dir: "things/v1"}
			without := group{name: "other.example.com", dir: "others/v1"}
			target := filepath.Join("docs", "c.md")
			if err := errors.Join(os.MkdirAll(filepath.Dir(g.conditions()), 0o750), os.WriteFile(g.conditions(), []byte("package p\n\n"+test.source), 0o600)); err != nil {
				t.Fatal(err)
			}
			err := generateConditions([]group{without, g}, target)
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
