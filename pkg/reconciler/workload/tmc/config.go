package tmc

// ConfigSource is where the configuration of a program comes from, and comes from again when the file changes. C is what
// the program runs with.
type ConfigSource[C any] struct {
	// Path of the configuration file, and what was read from it at the start. Empty without a file.
	Path    string
	Content []byte
	// Reload makes a configuration of other content of the file.
	Reload func(content []byte) (ConfigCandidate[C], error)
	// InForce is the configuration that the program runs with, in the form of a file; there are no secrets in it.
	InForce func() any
}

// ConfigCandidate is a valid configuration that could be taken up.
type ConfigCandidate[C any] struct {
	Config *C
	// Restart are the settings that cannot change while the program runs. If there is one, nothing of the candidate is used.
	Restart []string
	// Changed are all settings that differ from those in force.
	Changed []string
	// Commit has the candidate be the one that is in force.
	Commit func()
}
