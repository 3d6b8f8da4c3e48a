package manager

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const (
	// seenTargets is the ConfigMap that says where SyncTargets are, or were, beside the Lease. A label names a SyncTarget by a
	// hash: after a start nothing else says whom to ask whether it is gone.
	seenTargets = "workload-manager-synctargets"
	// seenTargetsKey has a line for each: logical cluster, a slash, and the name.
	seenTargetsKey = "synctargets"
	// seenSettle is how long names are collected before they are written.
	seenSettle = time.Second
	// seenFor is for how long what is gone is remembered after somebody has named it last, seenPeriod how often that is looked at.
	seenFor    = 7 * 24 * time.Hour
	seenPeriod = time.Hour
)

// keeper keeps what is remembered of SyncTargets for the manager that leads after this one.
type keeper struct {
	configMaps corev1client.ConfigMapInterface
	memory     *fleet.Memory
	clock      clock.WithTicker
	// recalled: what was kept before has been read. Nothing is written before.
	recalled bool
}

// Run keeps it until ctx is done. That it cannot be kept stops nobody.
func (k *keeper) Run(ctx context.Context) error {
	failures := 0
	again := k.clock.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.memory.Learned():
			if k.recalled {
				again.Reset(seenSettle)
			}
			continue
		case <-again.C():
		}
		if err := k.keep(ctx); err != nil && ctx.Err() == nil {
			failures++
			wait := max(tmc.Backoff(tmc.CategoryOf(err), failures, nil), seenSettle)
			klog.FromContext(ctx).Error(err, "Remembering where SyncTargets are", "retryAfter", wait.Round(time.Millisecond).String())
			again.Reset(wait)
			continue
		}
		failures = 0
		again.Reset(seenPeriod)
	}
}

// keep reads what there is, and writes it if it is not what is remembered.
func (k *keeper) keep(ctx context.Context) error {
	kept, err := k.configMaps.Get(ctx, seenTargets, metav1.GetOptions{})
	absent := apierrors.IsNotFound(err)
	if err != nil && !absent {
		return tmc.Classify(fmt.Errorf("reading ConfigMap %s: %w", seenTargets, err))
	}
	if !absent && !k.recalled {
		k.memory.Recall(parseSeen(kept.Data[seenTargetsKey]))
	}
	k.recalled = true
	k.memory.Forget(k.clock.Now().Add(-seenFor))
	text := formatSeen(k.memory.Names())
	switch {
	case absent && text == "", !absent && kept.Data[seenTargetsKey] == text:
		return nil
	case absent:
		_, err = k.configMaps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: seenTargets}, Data: map[string]string{seenTargetsKey: text},
		}, metav1.CreateOptions{})
	default:
		kept = kept.DeepCopy()
		kept.Data = map[string]string{seenTargetsKey: text}
		_, err = k.configMaps.Update(ctx, kept, metav1.UpdateOptions{})
	}
	if err != nil {
		return tmc.Classify(fmt.Errorf("writing ConfigMap %s: %w", seenTargets, err))
	}
	return nil
}

func formatSeen(names []fleet.Key) string {
	var text strings.Builder
	for _, name := range names {
		fmt.Fprintf(&text, "%s/%s\n", name.Cluster, name.Name)
	}
	return text.String()
}

// parseSeen leaves out what is no such line.
func parseSeen(text string) (names []fleet.Key) {
	for line := range strings.Lines(text) {
		if cluster, name, ok := strings.Cut(strings.TrimSpace(line), "/"); ok && cluster != "" && name != "" {
			names = append(names, fleet.Key{Cluster: logicalcluster.Name(cluster), Name: name})
		}
	}
	return names
}
