package cli

import (
	"strings"

	"github.com/spf13/pflag"

	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // makes --logging-format=json known
)

// AddLoggingFlags adds those of the logging library's flags that work without its feature gates.
func AddLoggingFlags(logging *logsapi.LoggingConfiguration, fs *pflag.FlagSet) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	logsapi.AddFlags(logging, all)
	usage := map[string]string{
		"logging-format":      "The `format` of the log: text or json.",
		"v":                   "How much to log. 0: the life of the process. 2: every change made. 4: why something was not done. 6 and up: requests.",
		"vmodule":             "Another -v for some files. Only for --logging-format=text.",
		"log-flush-frequency": "The longest time between two flushes of the log.",
	}
	all.VisitAll(func(f *pflag.Flag) {
		if text, wanted := usage[f.Name]; wanted {
			f.Usage = text
			fs.AddFlag(f)
		}
	})
}

// ValidateLogging asks the logging library, which names fields, and answers under the names of its flags.
func ValidateLogging(logging *logsapi.LoggingConfiguration, mistakes *Mistakes) {
	flags := map[string]string{"format": "logging-format", "verbosity": "v", "flushFrequency": "log-flush-frequency"}
	for _, problem := range logsapi.Validate(logging, nil, nil) {
		field, _, _ := strings.Cut(problem.Field, "[")
		flag, renamed := flags[field]
		if !renamed {
			flag = field
		}
		mistakes.Add(flag, "%s", problem.ErrorBody())
	}
}
