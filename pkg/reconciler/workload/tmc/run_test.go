package tmc_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// diary takes note of what parts do.
type diary struct {
	lock    sync.Mutex
	entries []string
}

func (d *diary) note(entry string) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.entries = append(d.entries, entry)
}

// lasting is a part that runs until it is told to stop and takes a while for that.
func (d *diary) lasting(name string, stopping time.Duration, result error) tmc.Part {
	return tmc.Part{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		d.note("stop " + name)
		pass(stopping)
		d.note("stopped " + name)
		return result
	}}
}

// pass lets time go by, which it does at once in a synctest bubble where everybody waits.
func pass(d time.Duration) { <-time.After(d) }

func ending(name string, err error) tmc.Part {
	return tmc.Part{Name: name, Run: func(context.Context) error { return err }}
}

var errBroken = errors.New("it broke")

func TestRunParts(t *testing.T) {
	inOrder := []string{"stop c", "stopped c", "stop b", "stopped b", "stop a", "stopped a"}
	for name, test := range map[string]struct {
		parts func(*diary) []tmc.Part
		// stop has the context end; otherwise a part does.
		stop      bool
		wantDiary []string
		wantErr   []string
		wantIs    error
	}{
		"parts are stopped in reverse order, each after the one that relies on it is done": {
			parts: func(d *diary) []tmc.Part {
				return []tmc.Part{d.lasting("a", time.Second, nil), d.lasting("b", time.Second, nil), d.lasting("c", time.Second, nil)}
			},
			stop: true, wantDiary: inOrder,
		},
		"being canceled is what stopping looks like, and no error": {
			parts: func(d *diary) []tmc.Part { return []tmc.Part{d.lasting("a", 0, context.Canceled)} },
			stop:  true, wantDiary: []string{"stop a", "stopped a"},
		},
		"an error in stopping is told, and the rest is stopped": {
			parts: func(d *diary) []tmc.Part {
				return []tmc.Part{d.lasting("a", 0, nil), d.lasting("b", 0, errBroken)}
			},
			stop: true, wantDiary: []string{"stop b", "stopped b", "stop a", "stopped a"}, wantErr: []string{`stopping part "b": it broke`}, wantIs: errBroken,
		},
		"a part that fails ends the process, and the others stop in order": {
			parts: func(d *diary) []tmc.Part {
				return []tmc.Part{d.lasting("a", 0, nil), ending("x", errBroken), d.lasting("b", 0, nil)}
			},
			wantDiary: []string{"stop b", "stopped b", "stop a", "stopped a"}, wantErr: []string{`part "x" ended: it broke`}, wantIs: errBroken,
		},
		"a part that ends without an error before anybody asked it to is a failure too": {
			parts:     func(d *diary) []tmc.Part { return []tmc.Part{d.lasting("a", 0, nil), ending("x", nil)} },
			wantDiary: []string{"stop a", "stopped a"}, wantErr: []string{`part "x" ended although nobody asked it to`},
		},
		"a panic is an error that names the part and shows the stack": {
			parts: func(d *diary) []tmc.Part {
				return []tmc.Part{d.lasting("a", 0, nil), {Name: "x", Run: func(context.Context) error { panic("oh no") }}}
			},
			wantDiary: []string{"stop a", "stopped a"}, wantErr: []string{`part "x" ended: panic: oh no`, "run_test.go"},
		},
		"so is a goroutine that exits": {
			parts: func(d *diary) []tmc.Part {
				return []tmc.Part{d.lasting("a", 0, nil), {Name: "x", Run: func(context.Context) error { runtime.Goexit(); return nil }}}
			},
			wantDiary: []string{"stop a", "stopped a"}, wantErr: []string{`part "x" ended: its goroutine exited`},
		},
		"a part that hangs is named when the time is up, and those before it are told to stop": {
			parts: func(d *diary) []tmc.Part {
				return []tmc.Part{d.lasting("a", time.Second, nil), d.lasting("b", time.Hour, nil), d.lasting("c", time.Second, nil)}
			},
			stop: true, wantDiary: []string{"stop c", "stopped c", "stop b", "stop a", "stopped a", "stopped b"}, wantErr: []string{`part "b" did not stop within 5s`},
		},
		"no parts run until they are stopped": {parts: func(*diary) []tmc.Part { return nil }, stop: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.stop {
					time.AfterFunc(time.Minute, cancel)
				}
				var d diary
				start := time.Now()
				err := tmc.RunParts(ctx, 5*time.Second, test.parts(&d)...)
				if took := time.Since(start); took > 65*time.Second {
					t.Errorf("took %s, which is longer than the stop timeout", took)
				}
				pass(2 * time.Hour) // for the part that hangs
				synctest.Wait()
				checkError(t, err, test.wantErr, test.wantIs)
				if !slices.Equal(d.entries, test.wantDiary) {
					t.Errorf("got  %q\nwant %q", d.entries, test.wantDiary)
				}
			})
		})
	}
}

func checkError(t *testing.T, err error, texts []string, is error) {
	t.Helper()
	if (err != nil) != (len(texts) > 0) {
		t.Fatalf("got error %v, want %q", err, texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q lacks %q", err, text)
		}
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("error %q is not %q", err, is)
	}
}

func TestRunPartsPassesValuesOn(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	var got any
	err := tmc.RunParts(ctx, time.Second, tmc.Part{Name: "a", Run: func(ctx context.Context) error {
		got = ctx.Value(key{})
		return errBroken
	}})
	if got != "value" || !errors.Is(err, errBroken) {
		t.Errorf("got value %v, error %v", got, err)
	}
}
