package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// counting looks at the objects of a type in one namespace while they are made. Unlike a watch, which would cost the
// server and this program a tenth of what it costs to make them, a look at their number costs next to nothing.
type counting struct {
	objects dynamic.ResourceInterface
	// before were there when the first look was taken that showed any, at first; all were there at last.
	before      int
	first, last time.Time
}

// Objects are counted this often, because the server goes through all of them each time; as soon as the last twentieth is being
// made, more often. The times are as exact as that.
const (
	lookEvery = 250 * time.Millisecond
	lookLast  = 25 * time.Millisecond
)

func countIn(side dynamic.Interface, resource schema.GroupVersionResource, namespace string) *counting {
	return &counting{objects: side.Resource(resource).Namespace(namespace)}
}

// await waits until there are so many.
func (c *counting) await(ctx context.Context, count int) error {
	for _, phase := range []struct {
		until int
		every time.Duration
	}{{1, lookLast}, {count - count/20, lookEvery}, {count, lookLast}} {
		if err := poll(ctx, phase.every, func() (bool, error) { return c.look(ctx, phase.until) }); err != nil {
			return fmt.Errorf("waiting for %d objects: %w", count, err)
		}
	}
	return nil
}

// look reports whether there are so many.
func (c *counting) look(ctx context.Context, wanted int) (bool, error) {
	asked := time.Now()
	there, err := c.count(ctx)
	if err != nil {
		return false, err
	}
	if c.first.IsZero() && there > 0 {
		c.before, c.first = there, asked
	}
	c.last = asked
	return there >= wanted, nil
}

// perSecond is the rate from the first look that showed any to the one that showed all.
func (c *counting) perSecond(count int) float64 {
	return float64(count-c.before) / c.last.Sub(c.first).Seconds()
}

// count asks for a page of one, with which the server tells how many more there are.
func (c *counting) count(ctx context.Context) (int, error) {
	page, err := c.objects.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	there := len(page.Items)
	if more := page.GetRemainingItemCount(); more != nil {
		there += int(*more)
	}
	return there, nil
}
