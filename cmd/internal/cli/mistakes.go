package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	cliflag "k8s.io/component-base/cli/flag"
)

// Mistake is something wrong with what was typed, and how to mend it.
type Mistake struct {
	// Flag that has to change, without dashes.
	Flag string
	// Problem and remedy, for a person.
	Problem string
}

// Mistakes are all that is wrong with a command line. They are an error if there is at least one.
type Mistakes []Mistake

// Error lists one mistake per line.
func (m Mistakes) Error() string {
	lines := make([]string, 0, len(m))
	for _, mistake := range m {
		lines = append(lines, fmt.Sprintf("--%s: %s", mistake.Flag, mistake.Problem))
	}
	return strings.Join(lines, "\n")
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

// Collect has the flags of all sections note in mistakes what they cannot parse, instead of ending the parsing.
func Collect(sections cliflag.NamedFlagSets, mistakes *Mistakes) {
	for _, name := range sections.Order {
		sections.FlagSets[name].VisitAll(func(f *pflag.Flag) {
			f.DefValue = strings.TrimSuffix(f.DefValue, "[]") // an empty list is no default worth showing
			f.Value = collecting{Value: f.Value, flag: f.Name, mistakes: mistakes}
		})
	}
}

// Final are the mistakes together with those met while the command line was read, as an error; nil if there are none.
// What could not be parsed has a value that nobody typed: what is said about that would only confuse, and is left out.
func (m Mistakes) Final(unparsed Mistakes) error {
	told := slices.DeleteFunc(m, func(mistake Mistake) bool { return unparsed.About(mistake.Flag) })
	return append(told, unparsed...).AsError()
}

// collecting is a flag's value that records what it cannot parse instead of ending the parsing, so that it is reported
// together with all other mistakes.
type collecting struct {
	pflag.Value
	flag     string
	mistakes *Mistakes
}

func (c collecting) Set(value string) error {
	if err := c.Value.Set(value); err != nil {
		var number *strconv.NumError
		if errors.As(err, &number) {
			err = number.Err // without the name of the function that found it
		}
		c.mistakes.Add(c.flag, "%q is not a valid %s: %v", value, c.Type(), err)
	}
	return nil
}
