package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// cast plays the users and vandals of the script. Users insist until the server has taken what they do; vandals try once.
type cast struct {
	stage   *stage
	history *History
	// simultaneous is how many requests are under way at most.
	simultaneous chan struct{}

	mu         sync.Mutex
	uids       map[Slot]string
	complaints []string
}

func newCast(s *stage, history *History) *cast {
	return &cast{stage: s, history: history, simultaneous: make(chan struct{}, 12), uids: map[Slot]string{}}
}

// play does all acts at their times, those on the same slot one after the other, and returns when all are done.
func (c *cast) play(ctx context.Context, acts []Act) error {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	last := map[Slot]chan struct{}{}
	for _, act := range acts {
		before, done := last[act.Slot], make(chan struct{})
		last[act.Slot] = done
		group.Go(func() error {
			defer close(done)
			if !until(ctx, began.Add(act.At)) || before != nil && !closed(ctx, before) {
				return ctx.Err()
			}
			if err := c.do(ctx, act); err != nil {
				return fmt.Errorf("%s of %s: %w", act.Verb, act.Slot, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// until waits for a time; false if ctx ends before.
func until(ctx context.Context, at time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Until(at)):
		return true
	}
}

func closed(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-done:
		return true
	}
}

// between is how long a user waits before trying again.
const between = 400 * time.Millisecond

func (c *cast) do(ctx context.Context, act Act) error {
	try := map[Verb]func(context.Context, Act) (bool, error){
		Create: c.create, Update: c.update, Delete: c.delete, Move: c.move, Spoil: c.spoil, Destroy: c.destroy,
	}[act.Verb]
	c.history.Note(act, time.Now())
	for {
		c.simultaneous <- struct{}{}
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		done, err := try(attempt, act)
		cancel()
		<-c.simultaneous
		if done {
			return nil
		}
		if !until(ctx, time.Now().Add(between)) {
			return fmt.Errorf("%w; the last answer was: %w", ctx.Err(), err)
		}
	}
}

func (c *cast) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
}

func (c *cast) uid(slot Slot) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uids[slot]
}

func (c *cast) allUIDs() map[Slot]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.uids)
}

func (c *cast) setUID(slot Slot, uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uids[slot] = string(uid)
}

// create makes the thing. What is there already may be of an earlier try of which the answer was lost, or still be on its way
// out.
func (c *cast) create(ctx context.Context, act Act) (bool, error) {
	client := of(c.stage.workspaces[act.Slot.Workspace].client, act.Slot.Kind, Namespace)
	made, err := client.Create(ctx, Object(act.Slot, act.Thing), metav1.CreateOptions{FieldManager: "user"})
	if apierrors.IsAlreadyExists(err) {
		made, err = client.Get(ctx, act.Slot.Name, metav1.GetOptions{})
		if err == nil && (made.GetLabels()[incarnationLabel] != strconv.Itoa(act.Thing.Incarnation) || made.GetDeletionTimestamp() != nil) {
			return false, fmt.Errorf("incarnation %s is there, deleted at %v", made.GetLabels()[incarnationLabel], made.GetDeletionTimestamp())
		}
	}
	if err != nil {
		return false, err
	}
	c.setUID(act.Slot, made.GetUID())
	return true, nil
}

func (c *cast) update(ctx context.Context, act Act) (bool, error) {
	patch := Content(act.Slot, act.Thing)
	patch["metadata"] = map[string]any{"annotations": map[string]any{valueAnnotation: strconv.Itoa(act.Thing.Value)}}
	raw, err := json.Marshal(patch)
	if err != nil {
		return true, err
	}
	_, err = of(c.stage.workspaces[act.Slot.Workspace].client, act.Slot.Kind, Namespace).
		Patch(ctx, act.Slot.Name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: "user"})
	if apierrors.IsNotFound(err) {
		c.complain("LOST: %s was to be updated and is not there", act.Slot)
		return true, nil
	}
	return err == nil, err
}

func (c *cast) delete(ctx context.Context, act Act) (bool, error) {
	client := of(c.stage.workspaces[act.Slot.Workspace].client, act.Slot.Kind, Namespace)
	uid := types.UID(c.uid(act.Slot))
	err := client.Delete(ctx, act.Slot.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	return err == nil || apierrors.IsNotFound(err), err
}

func (c *cast) move(ctx context.Context, act Act) (bool, error) {
	spec := placed(act.To)
	raw, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return true, err
	}
	_, err = c.stage.workspaces[act.Slot.Workspace].client.Resource(placements).Patch(ctx, "all", types.MergePatchType, raw, metav1.PatchOptions{})
	return err == nil, err
}

// spoil and destroy hurt copies, where there are any.
func (c *cast) spoil(ctx context.Context, act Act) (bool, error) {
	raw, err := json.Marshal(Spoiled(act.Slot.Kind))
	if err != nil {
		return true, err
	}
	return true, c.hurt(ctx, act.Slot, func(t *target, namespace string) error {
		_, err := of(t.down, act.Slot.Kind, namespace).Patch(ctx, act.Slot.Name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: "vandal"})
		return err
	})
}

func (c *cast) destroy(ctx context.Context, act Act) (bool, error) {
	return true, c.hurt(ctx, act.Slot, func(t *target, namespace string) error {
		return of(t.down, act.Slot.Kind, namespace).Delete(ctx, act.Slot.Name, metav1.DeleteOptions{})
	})
}

func (c *cast) hurt(ctx context.Context, slot Slot, do func(t *target, namespace string) error) error {
	for _, name := range Targets {
		t := c.stage.targets[name]
		namespace := c.stage.namespaceOf(name, slot.Workspace)
		u, err := of(t.down, slot.Kind, namespace).Get(ctx, slot.Name, metav1.GetOptions{})
		if err != nil || u.GetLabels()[workloadv1alpha1.DownstreamClusterLabel] != t.key {
			continue
		}
		_ = do(t, namespace) // a vandal does not insist
	}
	return nil
}
