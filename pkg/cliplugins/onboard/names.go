package onboard

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// component is what everything here is about.
const component = "workload-syncer"

// hashLength is how much of a hash keeps the names of two SyncTargets apart.
const hashLength = 8

// nameFor gives the one name that all objects of a syncer have, on both sides: readable, at most 63 characters, and the same each
// time. Syncers of several SyncTargets, of several workspaces or even of several kcps, may live in one cluster.
func nameFor(logicalCluster, syncTarget string) string {
	sum := sha256.Sum256([]byte(logicalCluster + ":" + syncTarget))
	readable := component + "-" + strings.ReplaceAll(syncTarget, ".", "-")
	if longest := validation.DNS1123LabelMaxLength - hashLength - 1; len(readable) > longest {
		readable = strings.TrimRight(readable[:longest], "-")
	}
	return readable + "-" + hex.EncodeToString(sum[:])[:hashLength]
}
