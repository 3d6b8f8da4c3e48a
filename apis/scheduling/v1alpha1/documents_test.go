package v1alpha1

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestDocumentsAreValid reads every Location and Placement of the documentation: no field of theirs may be unknown.
func TestDocumentsAreValid(t *testing.T) {
	const docs = "../../../docs/"
	page, err := os.ReadFile(docs + "placement.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(docs + "examples/placement.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(example), "\n---\n")
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		documents = append(documents, block[1])
	}
	if len(documents) < 8 {
		t.Errorf("found %d documents only", len(documents))
	}
	for _, document := range documents {
		var into any = &Placement{} // those that show the spec only
		if strings.Contains(document, "kind: Location") {
			into = &Location{}
		}
		if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
			t.Errorf("%v in:\n%s", err, document)
		}
	}
}
