package main

import (
	"fmt"
	"slices"
	"strings"
)

// course is how the tests of a package have run so far.
type course struct {
	path string
	// said is by test, by those at the top; what the package itself has said has no name.
	said map[string]*words
	// running are the tests that have begun and not ended, without those that wait for their turn.
	running []string
	failed  bool
	trouble trouble
}

// cause is why a package has failed, beside the tests that have.
type cause struct {
	what string
	why  []string
}

func (c *course) hear(test, output string) {
	name, _, _ := strings.Cut(test, "/")
	if c.said[name] == nil {
		c.said[name] = &words{}
	}
	c.said[name].hear(output)
	c.trouble.hear(strings.TrimRight(output, "\n"))
}

func (c *course) runs(test string) { c.running = append(c.running, test) }

func (c *course) rests(test string) {
	c.running = slices.DeleteFunc(c.running, func(name string) bool { return name == test })
}

// ended tells why, if a test has failed.
func (c *course) ended(test result) result {
	said := c.said[test.Test]
	delete(c.said, test.Test)
	switch test.Action {
	case "pass":
		c.trouble.crash = nil // what looked like a panic has not ended the process
	case "fail":
		c.failed = true
		test.Why = said.failures()
		if said.contain("race detected during execution of test") {
			test.Why = append(test.Why, c.trouble.tellRace()...)
		}
		if len(c.trouble.crash) > 0 && said.contain(c.trouble.crash[0]) {
			test.Why = append(test.Why, c.trouble.tellCrash(c.path)...)
		}
	}
	return test
}

// causes are those that no failed test has told.
func (c *course) causes() (causes []cause) {
	timedOut := c.trouble.timedOut()
	switch crash := c.trouble.tellCrash(c.path); {
	case timedOut:
		causes = append(causes, cause{"a timeout" + c.meanwhile(), crash})
	case crash != nil:
		causes = append(causes, cause{"a panic" + c.meanwhile(), crash})
	case len(c.running) > 0 && !c.trouble.crashed():
		causes = append(causes, cause{"the process ended" + c.meanwhile(), c.lastWords()})
	}
	if race := c.trouble.tellRace(); race != nil {
		causes = append(causes, cause{"a data race" + c.meanwhile(), race})
	}
	if len(causes) == 0 && !c.failed {
		causes = append(causes, cause{"an error after its tests", c.lastWords()})
	}
	return causes
}

// mostNames is how many of the tests that ran side by side are named.
const mostNames = 6

// meanwhile names the tests that were running, the innermost ones.
func (c *course) meanwhile() string {
	names := slices.DeleteFunc(slices.Clone(c.running), func(name string) bool {
		return slices.ContainsFunc(c.running, func(other string) bool { return strings.HasPrefix(other, name+"/") })
	})
	switch n := len(names); {
	case n == 0:
		return " outside of its tests"
	case n > mostNames:
		return fmt.Sprintf(" while %s and %d more ran", strings.Join(names[:mostNames], ", "), n-mostNames)
	}
	return fmt.Sprintf(" while %s ran", strings.Join(names, ", "))
}

// lastWords are what the tests that were running and the package have said, whatever it is.
func (c *course) lastWords() []string {
	var all []string
	for _, name := range append(slices.Clone(c.running), "") {
		if said := c.said[name]; said != nil {
			all = append(all, said.lines...)
		}
	}
	return last(slices.DeleteFunc(all, func(line string) bool { return strings.HasPrefix(line, "=== ") }), mostLines)
}

// trouble is what a process says of itself when something is wrong that is no test's finding. go test tells it as words of
// whichever test began last.
type trouble struct {
	// race is the first report of a data race.
	race   []string
	racing bool
	// crash begins with the message of a panic that nobody has recovered from; stacks follow.
	crash []string
	// raceTold and crashTold: each is told once, with the first test that shows it.
	raceTold, crashTold bool
}

// lines of a crash that are kept: those of a large process go on for ever.
const mostKept = 20_000

func (t *trouble) hear(line string) {
	switch {
	case t.crash != nil:
		if len(t.crash) < mostKept && !strings.HasPrefix(line, "FAIL\t") {
			t.crash = append(t.crash, line)
		}
	case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "fatal error: "):
		t.crash = []string{line}
	case line == "WARNING: DATA RACE":
		t.racing = t.race == nil
		fallthrough
	case t.racing:
		t.racing = t.racing && !strings.HasPrefix(line, "=====")
		if t.racing {
			t.race = append(t.race, line)
		}
	}
}

func (t *trouble) tellRace() []string {
	if t.raceTold || t.race == nil {
		return nil
	}
	t.raceTold = true
	var own []string
	for i, paragraph := range paragraphs(t.race) {
		if i > 0 {
			own = append(own, "")
		}
		own = append(own, frames(paragraph)...)
	}
	return first(own, mostStack)
}

func (t *trouble) crashed() bool {
	return slices.ContainsFunc(t.crash, func(line string) bool { return strings.HasPrefix(line, "goroutine ") })
}

func (t *trouble) timedOut() bool {
	return t.crashed() && strings.HasPrefix(t.crash[0], "panic: test timed out after ")
}

// tellCrash is the message, and the stack of the goroutine that has panicked. When the time was over that is nobody's fault: then it
// is the stacks of the package's tests, without those that wait for others.
func (t *trouble) tellCrash(path string) []string {
	if t.crashTold || !t.crashed() {
		return nil
	}
	t.crashTold = true
	all := paragraphs(t.crash)
	own, stacks := slices.Clone(all[0]), all[1:]
	if t.timedOut() {
		stacks = slices.DeleteFunc(stacks, func(stack []string) bool { return !works(stack, path) })
	} else {
		stacks = stacks[:min(1, len(stacks))]
	}
	for _, stack := range stacks {
		own = append(own, frames(stack)...)
	}
	return first(own, mostStack)
}

// works is whether a goroutine is in the middle of a test of the package.
func works(stack []string, path string) bool {
	for i, line := range stack {
		if i == 1 && begins(line, "testing.(*T).Run(") || begins(line, "testing.(*T).Parallel(") {
			return false
		}
	}
	return slices.ContainsFunc(stack, func(line string) bool { return begins(line, path+".", path+"_test.") })
}

func begins(line string, with ...string) bool {
	return slices.ContainsFunc(with, func(prefix string) bool { return strings.HasPrefix(line, prefix) })
}

func paragraphs(lines []string) (all [][]string) {
	begun := false
	for _, line := range lines {
		switch {
		case line == "":
			begun = false
			continue
		case !begun:
			all, begun = append(all, nil), true
		}
		all[len(all)-1] = append(all[len(all)-1], line)
	}
	return all
}

// ofGo are the calls of a stack that every test has, or every panic.
var ofGo = []string{"testing.", "runtime.", "panic(", "created by testing."}

// frames are a goroutine's calls without those of Go itself. Each call is a line, and the next says where it is.
func frames(stack []string) (own []string) {
	skip := false
	for _, line := range stack {
		call := strings.TrimLeft(line, " ")
		where := strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "      ")
		if !where {
			skip = begins(call, ofGo...)
		}
		if !skip {
			own = append(own, strings.ReplaceAll(line, "\t", "    "))
		}
	}
	return own
}
