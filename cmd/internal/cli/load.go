package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/runtime"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"sigs.k8s.io/yaml"
)

// Options are what a user has set, possibly wrong. Complete makes a configuration of them.
type Options[C any] interface {
	// Flags set the options. Each sets one field of the settings, or says in the reference why none.
	Flags() cliflag.NamedFlagSets
	// Settings are what a configuration file is read over: the options in the form of the file.
	Settings() runtime.Object
	// Logging is the part of the settings that says how the program logs.
	Logging() *logsapi.LoggingConfiguration
	// Live are the fields, or what is above them, that are taken up while the program runs.
	Live() []string
	Complete() (*C, error)
}

// File are the flags about the configuration file. They have no field in it.
type File struct {
	Path  string
	Print bool
}

// AddFlags adds the flags.
func (f *File) AddFlags(fs *pflag.FlagSet, kind string) {
	fs.StringVar(&f.Path, configFlag, f.Path,
		"The `file` with the configuration: a "+kind+" in YAML or JSON. Flags and environment variables go before it. When it changes, what can be taken up at run time is.")
	fs.BoolVar(&f.Print, printFlag, f.Print,
		"Print the configuration that flags, environment and file make together, as a file for --config, and end.")
}

const (
	configFlag = "config"
	printFlag  = "print-config"
)

// Sources are where settings come from beside the defaults. A flag goes before its environment variable, that before the
// configuration file, and that before the default. What has several values, such as a list, comes from one source as a whole.
type Sources struct {
	// Program is the command's name.
	Program string
	// Typed are the flags on the command line, in their order.
	Typed []Typed
	// Environ are the environment variables, as name=value.
	Environ []string
	// Read reads the configuration file.
	Read func(path string) ([]byte, error)
}

// SystemSources are the real ones.
func SystemSources(program string, typed []Typed) Sources {
	return Sources{Program: program, Typed: typed, Environ: os.Environ(), Read: os.ReadFile}
}

// Typed is a flag on the command line.
type Typed struct{ Flag, Value string }

// Loaded is what the sources say together.
type Loaded[C any] struct {
	// Config is what the program runs with.
	Config *C
	// Settings are the same in the form of a configuration file, and Live what of them is taken up at run time.
	Settings runtime.Object
	Live     []string
	Logging  *logsapi.LoggingConfiguration
	// Path is the configuration file and Content what was read; empty without one.
	Path    string
	Content []byte
	// Print: the settings are to be printed and nothing else.
	Print bool
}

// Load reads all sources. Its error is Mistakes: everything that is wrong, each where it was set.
func Load[C any](from Sources, options func() Options[C]) (*Loaded[C], error) {
	o := options()
	l := loader{Sources: from, flags: flagsOf(o.Flags()), fields: Fields(options), origins: map[string]origin{}}
	loaded := &Loaded[C]{Settings: o.Settings(), Live: o.Live(), Logging: o.Logging(), Print: l.lookup(printFlag) == "true"}
	loaded.Path = l.lookup(configFlag)
	if loaded.Path != "" {
		loaded.Content = l.readFile(loaded.Path, loaded.Settings)
	}
	l.setFlags()
	config, err := o.Complete()
	var told Mistakes
	if err != nil && !errors.As(err, &told) {
		return nil, err
	}
	if err := l.locate(loaded.Path, told.Final(l.unread)); err != nil {
		return nil, err
	}
	loaded.Config = config
	return loaded, nil
}

// Document is the settings as a configuration file.
func (l *Loaded[C]) Document() ([]byte, error) { return yaml.Marshal(l.Settings) }

type loader struct {
	Sources
	flags   map[string]*pflag.Flag
	fields  map[string]string
	origins map[string]origin
	// unread are the mistakes met while the sources were read.
	unread Mistakes
}

// origin is where a flag's setting comes from.
type origin struct {
	variable string
	line     int
	typed    bool
}

// lookup is what is said of a flag that says how the others are read.
func (l *loader) lookup(flag string) string {
	for _, typed := range slices.Backward(l.Typed) {
		if typed.Flag == flag {
			return typed.Value
		}
	}
	return fromEnvironment(l.Program, l.Environ)[EnvironmentVariable(l.Program, flag)]
}

// readFile reads the file over the settings.
func (l *loader) readFile(path string, settings runtime.Object) []byte {
	content, err := l.Read(path)
	if err != nil {
		l.unread.Add(configFlag, "%s cannot be read: %v", path, err)
		return nil
	}
	lines, problems := decode(content, settings)
	flagOf := map[string]string{}
	for flag, field := range l.fields {
		flagOf[field] = flag
		if line, set := lines[field]; set {
			l.origins[flag] = origin{line: line}
		}
	}
	for _, p := range problems {
		mistake := Mistake{Flag: configFlag, Field: p.field, Problem: p.problem, where: place(path, p.line, p.field)}
		if flag, known := flagOf[p.field]; known {
			mistake.Flag = flag
		}
		l.unread = append(l.unread, mistake)
	}
	return content
}

// setFlags sets each flag by what goes first: what was typed, or else its variable.
func (l *loader) setFlags() {
	for _, typed := range l.Typed {
		l.origins[typed.Flag] = origin{typed: true}
		l.set(typed.Flag, typed.Value)
	}
	variables := fromEnvironment(l.Program, l.Environ)
	for name, f := range l.flags {
		variable := EnvironmentVariable(l.Program, name)
		value, set := variables[variable]
		delete(variables, variable)
		if set && !l.origins[name].typed {
			l.origins[name] = origin{variable: variable}
			l.set(f.Name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		l.unread = append(l.unread, Mistake{Flag: name, where: name, Problem: "stands for no flag: see --help"})
	}
}

func (l *loader) set(flag, value string) {
	f := l.flags[flag]
	if f == nil {
		return
	}
	if err := f.Value.Set(value); err != nil {
		var number *strconv.NumError
		if errors.As(err, &number) {
			err = number.Err // without the name of the function that found it
		}
		l.unread.Add(flag, "%q is not a valid %s: %v", value, f.Value.Type(), err)
	}
}

// locate says of each mistake where what is wrong was set. Mistakes that are told of a file name its fields.
func (l *loader) locate(path string, err error) error {
	var mistakes Mistakes
	if !errors.As(err, &mistakes) {
		return err
	}
	for i := range mistakes {
		m := &mistakes[i]
		if m.Field == "" {
			m.Field = l.fields[m.Flag]
		}
		from := l.origins[m.Flag]
		switch {
		case m.where != "":
		case from.variable != "":
			m.where = from.variable
		case from.line > 0:
			m.where, m.Problem = place(path, from.line, m.Field), l.inFields(m.Problem)
		case path != "" && !from.typed && m.Field != "":
			m.where = "--" + m.Flag + ", or " + m.Field + " in " + path
		}
	}
	return mistakes
}

var mentioned = regexp.MustCompile(`--[a-z][a-z-]*[a-z]`)

// inFields names the fields of the flags that a text mentions.
func (l *loader) inFields(text string) string {
	return mentioned.ReplaceAllStringFunc(text, func(flag string) string {
		if field, has := l.fields[strings.TrimPrefix(flag, "--")]; has {
			return field
		}
		return flag
	})
}

func place(path string, line int, field string) string {
	if field == "" {
		return fmt.Sprintf("%s, line %d", path, line)
	}
	return fmt.Sprintf("%s, line %d: %s", path, line, field)
}

func flagsOf(sections cliflag.NamedFlagSets) map[string]*pflag.Flag {
	all := map[string]*pflag.Flag{}
	for _, section := range sections.FlagSets {
		section.VisitAll(func(f *pflag.Flag) { all[f.Name] = f })
	}
	return all
}

// Fields are the fields of the settings that flags set, by the flags' names. They are found by setting each flag and seeing
// what changes, so they cannot be wrong.
func Fields[C any](options func() Options[C]) map[string]string {
	o := options()
	flags, before := flagsOf(o.Flags()), leaves(o.Settings())
	fields := map[string]string{}
	for name, f := range flags {
		if f.Value.Set(probe(f)) != nil {
			continue // a flag without a field may take nothing else
		}
		after := leaves(o.Settings())
		for field, value := range after {
			if !same(before[field], value) {
				fields[name] = field
			}
		}
		before = after
	}
	return fields
}

// probe is a value that no flag has by default.
func probe(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return strconv.FormatBool(f.Value.String() != "true")
	case "duration":
		return "7h7m7s"
	case "int", "float32", "float64", "Level":
		return "77"
	case "pattern=N,...":
		return "probe=7"
	case "mapStringBool":
		return "Probe=true"
	default:
		return "probe"
	}
}

func same(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	first, firstErr := json.Marshal(a)
	second, secondErr := json.Marshal(b)
	return firstErr == nil && secondErr == nil && bytes.Equal(first, second)
}

// Changed are the fields that differ, in order.
func Changed(was, is runtime.Object) []string {
	before := leaves(was)
	var changed []string
	for field, value := range leaves(is) {
		if !same(before[field], value) {
			changed = append(changed, field)
		}
	}
	slices.Sort(changed)
	return changed
}

// NeedRestart are those of the fields that are not live.
func NeedRestart(fields, live []string) []string {
	return slices.DeleteFunc(slices.Clone(fields), func(field string) bool {
		return slices.ContainsFunc(live, func(above string) bool { return field == above || strings.HasPrefix(field, above+".") })
	})
}

// PlainDefaults shows no default for a list that is empty.
func PlainDefaults(sections cliflag.NamedFlagSets) {
	for _, f := range flagsOf(sections) {
		f.DefValue = strings.TrimSuffix(f.DefValue, "[]")
	}
}

// Record has the flags of all sections note what is typed. What is wrong with it is told with all other mistakes, when the
// sources are read.
func Record(sections cliflag.NamedFlagSets, typed *[]Typed) {
	for _, f := range flagsOf(sections) {
		f.Value = recording{Value: f.Value, flag: f.Name, typed: typed}
	}
}

type recording struct {
	pflag.Value
	flag  string
	typed *[]Typed
}

func (r recording) Set(value string) error {
	*r.typed = append(*r.typed, Typed{Flag: r.flag, Value: value})
	return nil
}

// Unmatched are the flags without a field and the fields without a flag, other than those for which a reason is given, and
// the reasons that are needed no more.
func Unmatched[C any](options func() Options[C], flagReasons, fieldReasons map[string]string) (problems []string) {
	o, fields := options(), Fields(options)
	unset := leaves(o.Settings())
	for flag := range flagsOf(o.Flags()) {
		field, has := fields[flag]
		if _, excused := flagReasons[flag]; has == excused {
			problems = append(problems, fmt.Sprintf("--%s: has a field: %t, has a reason to have none: %t", flag, has, excused))
		}
		delete(unset, field)
	}
	for field := range unset {
		if fieldReasons[field] == "" {
			problems = append(problems, field+" has no flag, and no reason to have none")
		}
	}
	for field := range fieldReasons {
		if _, without := unset[field]; !without {
			problems = append(problems, field+" has a flag, or does not exist: it needs no reason")
		}
	}
	return problems
}
