package tmc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

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
	// Changed are the settings that differ from those in force.
	Changed []string
	// Restart are those of them that cannot change while the program runs. If there is one, nothing of the candidate is used.
	Restart []string
	// Commit has the candidate be the one that is in force.
	Commit func()
}

// Page serves the configuration in force at /configz, as JSON. It can be used as a file.
func (s ConfigSource[C]) Page() Page {
	return Page{Path: "/configz", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		document, err := json.MarshalIndent(s.InForce(), "", "  ")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(document, '\n')) // who asked is gone
	})}
}

// ConfigVerdict is what became of a configuration file.
type ConfigVerdict string

const (
	// ConfigInForce means: the program runs with what the file says.
	ConfigInForce ConfigVerdict = "success"
	// ConfigRejected means: the file is not valid. The program runs with what it said before.
	ConfigRejected ConfigVerdict = "rejected"
	// ConfigNeedsRestart means: the file is valid, but something in it cannot change while the program runs. The program runs with what
	// it said before, as a whole.
	ConfigNeedsRestart ConfigVerdict = "restart_required"
)

// ConfigState is how a program stands to its configuration file.
type ConfigState struct {
	// Path is empty without a file.
	Path    string
	Verdict ConfigVerdict
	// Message says what is wrong with the file, or what needs a restart; in one line, and without anything that changes with time.
	Message string
}

// Err is why the file is not in force, nil if it is.
func (s ConfigState) Err() error {
	if s.Verdict == ConfigInForce {
		return nil
	}
	return errors.New(s.Message)
}

// ConfigFile follows a configuration file. Other content is taken up as a whole, or not at all.
type ConfigFile[C any] struct {
	source ConfigSource[C]
	use    func(*C)
	clock  clock.WithTicker

	metrics *configMetrics

	lock  sync.Mutex
	state ConfigState

	// Only the part that follows the file knows these: the content in force, and the one that was judged last.
	inForce, judged []byte
}

// ConfigFileOptions say what becomes of a configuration file.
type ConfigFileOptions[C any] struct {
	Source ConfigSource[C]
	// Use takes up what can change at run time. It cannot fail.
	Use        func(*C)
	Registerer prometheus.Registerer
	Clock      clock.WithTicker
}

// NewConfigFile registers the metrics. The file is followed by Parts.
func NewConfigFile[C any](o ConfigFileOptions[C]) *ConfigFile[C] {
	f := &ConfigFile[C]{
		source: o.Source, use: o.Use, clock: o.Clock, metrics: newConfigMetrics(o.Registerer),
		state:   ConfigState{Path: o.Source.Path, Verdict: ConfigInForce},
		inForce: o.Source.Content, judged: o.Source.Content,
	}
	f.metrics.successful.Set(1)
	if o.Source.Path != "" {
		f.metrics.tell(ConfigInForce, f.inForce, f.clock.Now())
	}
	return f
}

// State is how the program stands to the file now.
func (f *ConfigFile[C]) State() ConfigState {
	f.lock.Lock()
	defer f.lock.Unlock()
	return f.state
}

// Check tells the probes, and fails none: the program works, with the configuration of before.
func (f *ConfigFile[C]) Check() Check {
	return Check{Name: "configuration", Run: func(context.Context) error { return Degraded(f.State().Err()) }}
}

const (
	// configSettle is how long a file has to stay as it is before it is read: it may be in the middle of being written.
	configSettle = 200 * time.Millisecond
	// configPeriod is how often the file is looked at although nothing tells that it changed: not every file system does.
	configPeriod = 30 * time.Second
)

// Parts follow the file; there are none without one.
func (f *ConfigFile[C]) Parts() []Part {
	if f.source.Path == "" {
		return nil
	}
	return []Part{{Name: "configuration file", Run: f.follow}}
}

// follow watches the folders rather than the file: it may be replaced, or be a link into a ConfigMap that is swapped.
func (f *ConfigFile[C]) follow(ctx context.Context) error {
	logger := klog.FromContext(ctx).WithValues("path", f.source.Path)
	ctx = klog.NewContext(ctx, logger)
	ticker := f.clock.NewTicker(configPeriod)
	defer ticker.Stop()
	var events <-chan fsnotify.Event
	var lost <-chan error
	watch := func() {}
	if watcher, err := fsnotify.NewWatcher(); err != nil { // too many on this machine
		logger.Info("The configuration file is only looked at from time to time", "every", configPeriod.String(), "why", err.Error())
	} else {
		defer func() { _ = watcher.Close() }()
		events, lost, watch = watcher.Events, watcher.Errors, func() { f.watchFolders(ctx, watcher) }
	}
	watch()
	settled := f.clock.After(configSettle) // it may have changed since it was read, and be in the middle of that
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			settled = f.clock.After(configSettle)
		case err := <-lost:
			logger.V(2).Info("Events of the configuration file were lost", "why", err.Error())
			settled = f.clock.After(configSettle)
		case <-settled:
			settled = nil
			watch()
			f.look(ctx)
		case <-ticker.C():
			settled = f.clock.After(configSettle)
		}
	}
}

// watchFolders watches that of the file, and that of the file which it is a link to. Again changes nothing.
func (f *ConfigFile[C]) watchFolders(ctx context.Context, watcher *fsnotify.Watcher) {
	folders := []string{filepath.Dir(f.source.Path)}
	if target, err := filepath.EvalSymlinks(f.source.Path); err == nil {
		folders = append(folders, filepath.Dir(target))
	}
	for _, folder := range folders {
		if err := watcher.Add(folder); err != nil {
			klog.FromContext(ctx).V(2).Info("A folder cannot be watched: the configuration file is looked at from time to time", "folder", folder, "why", err.Error())
		}
	}
}

// look reads the file, and judges it if it is not in force. What failed before is judged again, because what it names, such
// as another file, may have come.
func (f *ConfigFile[C]) look(ctx context.Context) {
	content, err := os.ReadFile(f.source.Path)
	switch {
	case err != nil:
		f.tell(ctx, nil, ConfigState{Path: f.source.Path, Verdict: ConfigRejected, Message: "the configuration file cannot be read: " + err.Error()})
	case bytes.Equal(content, f.inForce) && f.State().Verdict == ConfigInForce:
	default:
		f.tell(ctx, content, f.judge(ctx, content))
	}
}

// judge takes the content up, or says why not.
func (f *ConfigFile[C]) judge(ctx context.Context, content []byte) ConfigState {
	state := ConfigState{Path: f.source.Path, Verdict: ConfigInForce}
	candidate, err := f.source.Reload(content)
	switch {
	case err != nil:
		state.Verdict, state.Message = ConfigRejected, strings.ReplaceAll(err.Error(), "\n", "; ")
	case len(candidate.Restart) > 0:
		state.Verdict = ConfigNeedsRestart
		state.Message = fmt.Sprintf("a restart is needed to take up %s of %s; until then nothing of the changed file is used", strings.Join(candidate.Restart, ", "), f.source.Path)
	default:
		if len(candidate.Changed) > 0 {
			klog.FromContext(ctx).Info("Taking up a changed configuration", "settings", candidate.Changed)
		}
		candidate.Commit()
		f.use(candidate.Config)
		f.inForce = content
	}
	return state
}

// tell says what became of the content, once.
func (f *ConfigFile[C]) tell(ctx context.Context, content []byte, now ConfigState) {
	before := f.State()
	if now == before && bytes.Equal(content, f.judged) {
		return
	}
	f.judged = content
	f.metrics.tell(now.Verdict, f.inForce, f.clock.Now()) // first: who sees the state finds the metrics saying the same
	f.lock.Lock()
	f.state = now
	f.lock.Unlock()
	switch {
	case now.Verdict != ConfigInForce:
		klog.FromContext(ctx).Error(now.Err(), "Keeping the configuration as it was")
	case before.Verdict != ConfigInForce:
		klog.FromContext(ctx).Info("The configuration file is in force again")
	}
}

// configMetrics tell of the configuration file as those of kube-apiserver do of its own.
type configMetrics struct {
	reloads              *prometheus.CounterVec
	last, info           *prometheus.GaugeVec
	successful, restarts prometheus.Gauge
}

func newConfigMetrics(reg prometheus.Registerer) *configMetrics {
	return &configMetrics{
		reloads: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_config_reloads_total",
			Help: "Contents of the configuration file that were judged, the first one too, by result (success, rejected, restart_required).",
		}, []string{"result"})),
		last: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "workload_config_last_reload_timestamp_seconds",
			Help: "When a content of the configuration file was judged last, by result, in seconds since the epoch.",
		}, []string{"result"})),
		info: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "workload_config_info",
			Help: "Always 1; the label is a hash of the configuration file's content that is in force.",
		}, []string{"hash"})),
		successful: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "workload_config_last_reload_successful",
			Help: "1 if the configuration file as it is now is in force, or there is none; 0 if the one of before still is.",
		})),
		restarts: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "workload_config_restart_required",
			Help: "1 if a restart is needed to take up the configuration file as it is now.",
		})),
	}
}

func (m *configMetrics) tell(verdict ConfigVerdict, inForce []byte, now time.Time) {
	m.reloads.WithLabelValues(string(verdict)).Inc()
	m.last.WithLabelValues(string(verdict)).Set(float64(now.UnixMilli()) / 1000)
	sum := sha256.Sum256(inForce)
	m.info.Reset()
	m.info.WithLabelValues("sha256:" + hex.EncodeToString(sum[:])).Set(1)
	m.successful.Set(is(verdict == ConfigInForce))
	m.restarts.Set(is(verdict == ConfigNeedsRestart))
}

func is(so bool) float64 {
	if so {
		return 1
	}
	return 0
}
