package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
)

// patience is how long anything may take before the run is given up.
const patience = 15 * time.Minute

// sightings is what a watch has shown: when each mark was first seen. A mark is what the caller makes of an object, such
// as its name; an empty one does not count.
type sightings struct {
	mu    sync.Mutex
	at    map[string]time.Time
	news  chan struct{}
	ended bool
}

// watchFor watches until ctx is done, also when the server ends a watch that does not read fast enough.
func watchFor(ctx context.Context, objects dynamic.ResourceInterface, selector string, mark func(*unstructured.Unstructured) string) (*sightings, error) {
	list, err := objects.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	s := &sightings{at: map[string]time.Time{}, news: make(chan struct{}, 1)}
	for i := range list.Items {
		s.note(mark(&list.Items[i]))
	}
	w, err := toolswatch.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = selector
			return objects.Watch(ctx, options)
		},
	})
	if err != nil {
		return nil, err
	}
	go func() { // ends with the watch, which ends with ctx
		for event := range w.ResultChan() {
			if u, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watch.Deleted {
				s.note(mark(u))
			}
		}
		s.end()
	}()
	return s, nil
}

// name marks objects by their name.
func name(u *unstructured.Unstructured) string { return u.GetName() }

func (s *sightings) note(mark string) {
	if mark == "" {
		return
	}
	s.mu.Lock()
	if _, seen := s.at[mark]; !seen {
		s.at[mark] = time.Now()
	}
	s.mu.Unlock()
	s.wake()
}

func (s *sightings) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.wake()
}

func (s *sightings) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// await waits until so many marks were seen.
func (s *sightings) await(ctx context.Context, count int) error {
	return s.until(ctx, func() error {
		if len(s.at) < count {
			return fmt.Errorf("%d of %d were seen", len(s.at), count)
		}
		return nil
	})
}

// awaitMark waits until the mark was seen and says when.
func (s *sightings) awaitMark(ctx context.Context, mark string) (at time.Time, err error) {
	err = s.until(ctx, func() error {
		var seen bool
		if at, seen = s.at[mark]; !seen {
			return fmt.Errorf("%s was not seen", mark)
		}
		return nil
	})
	return at, err
}

// until waits until missing, which may read at, is nil. There is one waiter at a time.
func (s *sightings) until(ctx context.Context, missing func() error) error {
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		err, ended := missing(), s.ended
		s.mu.Unlock()
		switch {
		case err == nil:
			return nil
		case ended:
			return fmt.Errorf("the watch has ended: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("within %s: %w", patience, err)
		case <-s.news:
		}
	}
}

// span is when the first and the last mark were seen.
func (s *sightings) span() (first, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.at {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last
}

// lags are the milliseconds from each acknowledgement to the sight of the same mark. What was seen before its own
// acknowledgement has none.
func (s *sightings) lags(c *created) []float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lags []float64
	for mark, acknowledged := range c.at {
		if seen, ok := s.at[mark]; ok {
			lags = append(lags, max(0, milliseconds(seen.Sub(acknowledged))))
		}
	}
	return lags
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
