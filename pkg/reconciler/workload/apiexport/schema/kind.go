package schema

// kind of value that a schema is about.
type kind string

const (
	anything    kind = "anything"
	intOrString kind = "an integer or a string"
	number      kind = "number"
	integer     kind = "integer"
	text        kind = "string"
)

func kindOf(s *Schema) kind {
	switch {
	case s.XIntOrString:
		return intOrString
	case s.Type == "":
		return anything
	}
	return kind(s.Type)
}

func (k kind) typeName() string {
	if k == anything || k == intOrString {
		return ""
	}
	return string(k)
}

// commonKind of values that are of both kinds.
func commonKind(a, b kind) (kind, bool) {
	if a == b {
		return a, true
	}
	if both, ok := within(a, b); ok {
		return both, true
	}
	return within(b, a)
}

// within is the kind of those values of one kind that are also of another, wider one.
func within(wide, narrow kind) (kind, bool) {
	switch {
	case wide == anything:
		return narrow, true
	case wide == intOrString && (narrow == integer || narrow == text):
		return narrow, true
	case wide == intOrString && narrow == number, wide == number && narrow == integer:
		return integer, true
	}
	return "", false
}
