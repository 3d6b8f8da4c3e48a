package schema

import (
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// rulesOf are the texts of a schema's rules that may name fields.
func rulesOf(s *Schema) []string {
	var texts []string
	for _, rule := range s.XValidations {
		texts = append(texts, textOf(rule))
	}
	return texts
}

func textOf(rule apiextensionsv1.ValidationRule) string {
	return strings.Join([]string{rule.Rule, rule.MessageExpression, rule.FieldPath}, " ")
}

// mentions reports whether a rule may read a field of that name: too often rather than too seldom.
func mentions(rule, name string) bool {
	spelling, ok := escape(name)
	if !ok {
		return false
	}
	for rest, before := rule, byte(' '); ; {
		at := strings.Index(rest, spelling)
		if at < 0 {
			return false
		}
		if at > 0 {
			before = rest[at-1]
		}
		end := at + len(spelling)
		if !partOfName(before) && (end == len(rest) || !partOfName(rest[end])) {
			return true
		}
		before, rest = rest[at], rest[at+1:]
	}
}

func partOfName(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// reserved are the words that rules cannot use as names of fields.
var reserved = []string{
	"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
	"loop", "package", "namespace", "return", "var", "void", "while",
}

// escape is how rules spell the name of a field; they cannot read every field.
func escape(name string) (string, bool) {
	if name == "" || '0' <= name[0] && name[0] <= '9' {
		return "", false
	}
	if slices.Contains(reserved, name) {
		return "__" + name + "__", true
	}
	for i := range len(name) {
		if !partOfName(name[i]) && !strings.ContainsRune("-./", rune(name[i])) {
			return "", false
		}
	}
	return strings.NewReplacer("__", "__underscores__", ".", "__dot__", "-", "__dash__", "/", "__slash__").Replace(name), true
}
