package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// cpuTime is CPU time in seconds by program: those that this one has started, and itself as "bench".
type cpuTime map[string]float64

// cpuUsage is what was used so far; empty where the system does not tell.
func cpuUsage() cpuTime {
	self := os.Getpid()
	used := cpuTime{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return used
	}
	for _, file := range stats {
		stat, ok := readStat(file)
		switch {
		case !ok: // it has ended meanwhile
		case stat.pid == self:
			used["bench"] += stat.cpu
		case stat.parent == self:
			used[stat.name] += stat.cpu
		}
	}
	return used
}

// processStat is what proc(5) tells of a process.
type processStat struct {
	name        string
	pid, parent int
	cpu         float64
}

func readStat(file string) (processStat, bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return processStat{}, false
	}
	return parseStat(string(raw))
}

// parseStat reads fields 1 to 4, 14 and 15. The name is in brackets, and may hold anything.
func parseStat(text string) (stat processStat, ok bool) {
	before, rest, _ := strings.Cut(text, "(")
	end := strings.LastIndex(rest, ") ")
	if end < 0 {
		return stat, false
	}
	stat.name = rest[:end]
	fields := strings.Fields(rest[end+2:])
	if len(fields) < 13 {
		return stat, false
	}
	var user, system float64
	for _, field := range []struct {
		text string
		into any
	}{{before, &stat.pid}, {fields[1], &stat.parent}, {fields[11], &user}, {fields[12], &system}} {
		if _, err := fmt.Sscan(field.text, field.into); err != nil {
			return stat, false
		}
	}
	stat.cpu = (user + system) / 100 // hundredths of a second
	return stat, true
}

// since is what was used after another look.
func (u cpuTime) since(before cpuTime) cpuTime {
	used := cpuTime{}
	for name, now := range u {
		if more := now - before[name]; more > 0 {
			used[name] = more
		}
	}
	return used
}

func (u cpuTime) total() (sum float64) {
	for _, seconds := range u {
		sum += seconds
	}
	return sum
}

// addUsage tells what so many objects cost whom, and how much of the machine that was: where it is all, nothing that
// costs less than what was measured can be faster than that.
func (b *bench) addUsage(what string, used cpuTime, objects int, took time.Duration) {
	each := func(seconds float64) float64 { return seconds / float64(objects) * 1000 }
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if each(used[name]) >= .01 {
			b.add(what+": CPU of "+name+" per object", each(used[name]), "ms")
		}
	}
	b.add(what+": CPU of all per object", each(used.total()), "ms")
	b.add(what+": part of the machine's CPU", 100*used.total()/(took.Seconds()*float64(runtime.NumCPU())), "%")
}
