package cli

import (
	"strings"
)

// EnvironmentPrefix is what the names of the environment variables begin with that set a program's flags. The word FLAG in
// it keeps them apart from those that Kubernetes sets in a pod for the Services of its namespace: a Service called
// workload-syncer-metrics would otherwise set --metrics-port.
func EnvironmentPrefix(program string) string {
	name, _, _ := strings.Cut(program, " ")
	return upper(name) + "_FLAG_"
}

// EnvironmentVariable sets the flag where it is not typed.
func EnvironmentVariable(program, flag string) string {
	return EnvironmentPrefix(program) + upper(flag)
}

func upper(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// fromEnvironment picks what sets flags, by the variables' names. An empty variable sets nothing.
func fromEnvironment(program string, environ []string) map[string]string {
	set := map[string]string{}
	for _, line := range environ {
		if name, value, _ := strings.Cut(line, "="); strings.HasPrefix(name, EnvironmentPrefix(program)) && value != "" {
			set[name] = value
		}
	}
	return set
}
