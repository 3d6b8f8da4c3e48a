package cli

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Mistake is something wrong with what was set, and how to mend it.
type Mistake struct {
	// Flag that has to change, without dashes.
	Flag string
	// Field of the configuration file that means the same; empty where there is none.
	Field string
	// Problem and remedy, for a person.
	Problem string
	// where it was set, for a person; the flag when empty.
	where string
}

// Mistakes are all that is wrong with the settings of a program. They are an error if there is at least one.
type Mistakes []Mistake

// Error lists one mistake per line.
func (m Mistakes) Error() string {
	lines := make([]string, 0, len(m))
	for _, mistake := range m {
		where := mistake.where
		if where == "" {
			where = "--" + mistake.Flag
		}
		lines = append(lines, where+": "+mistake.Problem)
	}
	return strings.Join(lines, "\n")
}

// Fields are the mistakes by the fields of the configuration file.
func (m Mistakes) Fields() field.ErrorList {
	var list field.ErrorList
	for _, mistake := range m {
		path := field.NewPath(mistake.Field)
		if mistake.Field == "" {
			path = field.NewPath("--" + mistake.Flag)
		}
		list = append(list, field.Invalid(path, field.OmitValueType{}, mistake.Problem))
	}
	return list
}

// Add notes one more.
func (m *Mistakes) Add(flag, format string, args ...any) {
	*m = append(*m, Mistake{Flag: flag, Problem: fmt.Sprintf(format, args...)})
}

// About reports whether one of them is about the flag.
func (m Mistakes) About(flag string) bool {
	return slices.ContainsFunc(m, func(mistake Mistake) bool { return mistake.Flag == flag })
}

// AsError returns the mistakes in the order of their flags' names, or nil if there are none.
func (m Mistakes) AsError() error {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b Mistake) int { return strings.Compare(a.Flag, b.Flag) })
	return m
}

// Final are the mistakes together with those met while the sources were read, as an error; nil if there are none. What could
// not be parsed has a value that nobody set: what is said about that would only confuse, and is left out.
func (m Mistakes) Final(unparsed Mistakes) error {
	told := slices.DeleteFunc(m, func(mistake Mistake) bool { return unparsed.About(mistake.Flag) })
	return append(told, unparsed...).AsError()
}
