package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// What a run is told from outside.
const (
	seedVariable     = "CHAOS_SEED"
	durationVariable = "CHAOS_DURATION"
	reportVariable   = "CHAOS_REPORT"
)

// bound is how long both sides may take to come together when all is whole again, on a machine that does other things too.
const bound = 4 * time.Minute

// show is a run of the script: the tests of this package go on from where the one before has ended.
type show struct {
	long     bool
	duration time.Duration
	script   *Script
	stage    *stage
	cast     *cast
	history  *History
	audit    *audit
	strange  *strangers
	intruder *intruder
	intrude  func() // ends it
	report   *Report
	began    time.Time
	first    map[string]Footprint
	failures int
	// broken: what comes after would only show that.
	broken bool
}

var theShow struct {
	sync.Mutex
	show *show
}

// The whole run, and the part of it that is played with every test run.
var (
	whole = Size{Workspaces: 20, Slots: 55, Rate: 6, Active: 45 * time.Second, Faults: 6, Kinds: FaultKinds}
	part  = Size{Workspaces: 20, Slots: 22, Rate: 5, Active: 25 * time.Second, Faults: 9, Kinds: withoutSkew}
)

// partRounds is how many rounds of everything the part has.
const partRounds = 2

// withoutSkew: programs whose clock can be skewed take minutes to build.
var withoutSkew = slices.DeleteFunc(slices.Clone(FaultKinds), func(k FaultKind) bool { return k == ClockSkewed })

// linkFaults are played alone first, each on each link.
var linkFaults = []FaultKind{LinkCut, LinkReset, LinkHang, LinkForgets}

// onlyLinks is a size of the same script with nothing but these.
func onlyLinks(size Size) Size {
	size.Kinds, size.Faults = linkFaults, len(linkFaults)*len(links)
	return size
}

// open sets the show up when the first test needs it.
func open(t *testing.T) *show {
	t.Helper()
	e := env.For(t)
	theShow.Lock()
	defer theShow.Unlock()
	if s := theShow.show; s != nil {
		if s.broken {
			t.Fatal("an earlier part has failed") // it left who knows what behind
		}
		t.Cleanup(func() { s.broken = t.Failed() && !s.long })
		return s
	}
	s := &show{began: time.Now()}
	size, seed := part, uint64(1)
	if text := os.Getenv(durationVariable); text != "" {
		var err error
		if s.duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", durationVariable, err)
		}
		size, seed, s.long = whole, rand.Uint64N(1_000_000), true
	}
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("seed %d", seed)
	fmt.Fprintf(os.Stderr, "chaos: seed %d; play it again with: make chaos SEED=%[1]d\n", seed)
	s.script = NewScript(seed, size)
	s.history = NewHistory(s.script.After())
	s.report = &Report{Seed: seed, Workspaces: size.Workspaces, Programs: map[string][]Footprint{}}
	var err error
	if s.stage, err = newStage(t.Context(), e, size, s.long); err != nil {
		t.Fatal(err)
	}
	s.cast = newCast(s.stage, s.history)
	if s.audit, err = newAudit(s.stage, s.history); err != nil {
		t.Fatal(err)
	}
	theShow.show = s
	t.Cleanup(func() { s.broken = t.Failed() && !s.long })
	s.place(t)
	return s
}

// kills is how often the manager is killed while everything is placed for the first time.
const kills = 10

// place creates everything, and kills the manager meanwhile.
func (s *show) place(t *testing.T) {
	t.Helper()
	round := s.script.Begin()
	s.report.Objects = len(round.Acts)
	random := s.script.random(9)
	ctx, stop := context.WithCancel(t.Context())
	var killing sync.WaitGroup
	killed := 0
	killing.Go(func() {
		for killed < kills && until(ctx, time.Now().Add(time.Duration(500+random.IntN(2500))*time.Millisecond)) {
			s.stage.manager.Kill()
			killed++
			until(ctx, time.Now().Add(time.Duration(random.IntN(1000))*time.Millisecond))
			if err := s.stage.manager.Restart(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	err := s.cast.play(t.Context(), round.Acts)
	stop()
	killing.Wait()
	if err != nil {
		t.Fatal(err)
	}
	report := RoundReport{Name: "placement", Faults: []string{fmt.Sprintf("the manager was killed %d times", killed)}}
	for range killed {
		report.Kinds = append(report.Kinds, ProgramKilled)
	}
	s.converge(t, round, report, time.Now())
	if s.strange, err = s.stage.invite(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.report.Judged.Strangers = len(s.strange.before)
	if s.intruder, err = newIntruder(t.Context(), s.stage, s.script.Seed); err != nil {
		t.Fatal(err)
	}
	intruding, end := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { s.intruder.run(intruding) })
	s.intrude = func() { end(); ended.Wait() }
	s.first = s.footprints(t)
}

// round plays one and judges it.
func (s *show) round(t *testing.T, name string) {
	t.Helper()
	round := s.script.Next()
	report := RoundReport{Name: name}
	for _, fault := range round.Faults {
		report.Faults = append(report.Faults, fault.String())
		report.Kinds = append(report.Kinds, fault.Kind)
		t.Logf("%s: %s", name, fault)
	}
	began := time.Now()
	acting, stop := context.WithCancel(t.Context())
	defer stop()
	acted := make(chan error, 1)
	go func() { acted <- s.cast.play(acting, round.Acts) }()
	var faults errgroup.Group
	for _, fault := range round.Faults {
		faults.Go(func() error { return s.stage.play(t.Context(), fault, began) })
	}
	if err := faults.Wait(); err != nil {
		t.Fatal(err)
	}
	until(t.Context(), began.Add(s.script.Size.Active))
	calm := time.Now()
	timer := time.AfterFunc(bound, stop) // users that still wait then say for what
	defer timer.Stop()
	if err := <-acted; err != nil {
		t.Errorf("a user still waits: %v", err)
	}
	s.converge(t, round, report, calm)
	for program, now := range s.footprints(t) {
		if leak := Leaked(program, s.first[program], now); leak != "" {
			t.Errorf("%s: %s", name, leak)
		}
	}
}

// enough is after how many failed rounds a long run ends.
const enough = 4

// converge waits until both sides are as they have to be, and then judges what can be told only in hindsight.
func (s *show) converge(t *testing.T, round Round, report RoundReport, calm time.Time) {
	t.Helper()
	model := s.script.After()
	report.Acts = map[Verb]int{}
	for _, act := range round.Acts {
		report.Acts[act.Verb]++
	}
	var complaints []string
	for told := 0; ; {
		complaints = s.look(t.Context(), model)
		if waited := time.Since(calm); len(complaints) > 0 && waited > time.Duration(told+1)*30*time.Second {
			told++
			fmt.Fprintf(os.Stderr, "chaos: %s after %s: %d complaints, such as\n  %s\n", report.Name, waited.Round(time.Second), len(complaints), some(complaints, 4))
		}
		if len(complaints) == 0 || time.Since(calm) > s.bound(round) || t.Context().Err() != nil {
			break
		}
		until(t.Context(), time.Now().Add(time.Second))
	}
	report.Converged = time.Since(calm)
	if len(complaints) > 0 {
		complaints = append([]string{fmt.Sprintf("both sides have not come together within %s:", s.bound(round))}, complaints...)
	}
	judged, err := s.audit.judge()
	if err != nil {
		t.Fatal(err)
	}
	complaints = append(append(append(complaints, judged...), s.cast.complaints...), s.alive()...)
	s.cast.complaints = nil
	if s.intruder != nil {
		complaints = append(complaints, s.intruder.take()...)
	}
	report.Complaints = complaints
	s.report.Rounds = append(s.report.Rounds, report)
	t.Logf("%s converged after %s", report.Name, report.Converged.Round(100*time.Millisecond))
	if len(complaints) > 0 {
		t.Errorf("%s, seed %d:\n  %s", report.Name, s.script.Seed, some(complaints, 30))
		for _, program := range s.stage.programs {
			t.Logf("the end of the log of the %s:\n%s", program.name, program.Tail(40))
		}
		s.failures++
		if !s.long || s.failures >= enough {
			t.FailNow()
		}
		return // a long run goes on: the next round may tell more
	}
	s.history.Settle(model)
}

// bound is how long that may take. All at once takes longer.
func (s *show) bound(round Round) time.Duration {
	if round.Number == 0 {
		return 2 * bound
	}
	return bound
}

// look takes a picture and judges it. What cannot be asked is a complaint too.
func (s *show) look(ctx context.Context, model *Model) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	picture, err := s.stage.picture(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	want := Expected{Model: model, UIDs: s.cast.allUIDs()}
	if s.strange != nil {
		want.Inhabited = inhabitants
	}
	complaints := Judge(want, picture)
	if s.strange != nil {
		more, err := s.strange.judge(ctx, model.Homes)
		if err != nil {
			more = []string{err.Error()}
		}
		complaints = append(complaints, more...)
	}
	return complaints
}

// alive: no program ends by itself, whatever happens.
func (s *show) alive() (complaints []string) {
	for _, name := range sortedKeys(s.stage.programs) {
		select {
		case <-s.stage.programs[name].Done():
			complaints = append(complaints, fmt.Sprintf("DEAD: the %s has ended by itself", name))
		default:
		}
	}
	return complaints
}

// footprints are what the programs take when they have nothing to do.
func (s *show) footprints(t *testing.T) map[string]Footprint {
	t.Helper()
	prints := map[string]Footprint{}
	for name, program := range s.stage.programs {
		var now Footprint
		err := soon(t.Context(), func(ctx context.Context) (err error) {
			now, err = program.footprint(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		prints[name] = now
		s.report.Programs[name] = append(s.report.Programs[name], now)
	}
	return prints
}

// tell prints the table and keeps the report.
func (s *show) tell(t *testing.T) {
	r := s.report
	if s.intruder != nil {
		s.intrude()
		r.Judged.HostileAttempts, r.Judged.HostileRefused = s.intruder.tried, s.intruder.refused
	}
	r.Took = time.Since(s.began)
	for _, auditor := range s.audit.auditors {
		r.Judged.Writes += auditor.Writes
		r.Judged.Deletes += auditor.Deletes
		r.Judged.DeletesByName += auditor.ByName
		r.Judged.NamespaceDeletes += auditor.NamespaceDeletes
	}
	r.ServersDied = s.stage.supervisor.deaths()
	r.Judged.Rejections = int(s.stage.webhook.asked.Load())
	for _, proxy := range s.stage.proxies {
		r.Judged.ProxyAnswers += int(proxy.Hits())
	}
	r.Table(os.Stderr)
	if path := os.Getenv(reportVariable); path != "" {
		if err := r.Write(path); err != nil {
			t.Error(err)
		}
	}
}

// A thousand objects are created while the manager is killed at random: in the end each is where it has to be.
func TestManagerKilledWhilePlacing(t *testing.T) {
	s := open(t)
	if s.report.Rounds[0].Kinds == nil {
		t.Error("the manager was not killed")
	}
}

// Links are hurt at random times, both ways of each syncer and the manager's, each in four ways: nothing is lost.
func TestA42LinksCutAtRandom(t *testing.T) {
	s := open(t)
	size := s.script.Size
	defer func() { s.script.Resize(size) }()
	links := onlyLinks(size)
	if s.long {
		links.Active = 3 * time.Minute
	}
	s.script.Resize(links)
	s.round(t, "A42: links cut at random")
}

// Rounds of everything, until the time is over.
func TestChaos(t *testing.T) {
	s := open(t)
	t.Cleanup(func() { s.tell(t) })
	for i := 1; ; i++ {
		if s.long && time.Since(s.began) > s.duration || !s.long && i > partRounds {
			return
		}
		s.round(t, fmt.Sprint("round ", i))
	}
}
