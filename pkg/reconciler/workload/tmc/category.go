package tmc

import (
	"math"
	"math/rand/v2"
	"time"
)

// Category sorts errors by what to do about them. It is fit for a metric label and for a condition's reason.
//
// The list grows with the programs; consumers treat a category that they do not know like [Internal].
type Category string

const (
	// NotFound means: the object, its type, or the path to it does not exist there. See [IsObjectNotFound] for which.
	NotFound Category = "NotFound"
	// Conflict means: the write was made for a state that is no longer current. Read again, decide again.
	Conflict Category = "Conflict"
	// FieldOwnership means: another field manager owns what was to be applied. A retry of the same loses again.
	FieldOwnership Category = "FieldOwnership"
	// AlreadyExists means: the name is taken.
	AlreadyExists Category = "AlreadyExists"
	// Validation means: the server will not have this object or request as it is.
	Validation Category = "Validation"
	// Immutable means: nothing but fields that cannot change once set stand against the write.
	Immutable Category = "Immutable"
	// Permission means: we are known and not allowed to.
	Permission Category = "Permission"
	// Admission means: a webhook or policy, not the API itself, refused.
	Admission Category = "Admission"
	// Quota means: there is no room left for it.
	Quota Category = "Quota"
	// Authentication means: the server does not accept who we say we are.
	Authentication Category = "Authentication"
	// Unreachable means: no answer came, because no connection could be made.
	Unreachable Category = "Unreachable"
	// Network means: the connection broke while the answer was awaited; whether it was done is not known.
	Network Category = "Network"
	// Unavailable means: the server answered that it, or something that it relies on, cannot at the moment.
	Unavailable Category = "Unavailable"
	// Timeout means: it took too long; whether it was done is not known.
	Timeout Category = "Timeout"
	// NamespaceTerminating means: the namespace is being deleted; nothing can be created until it is gone.
	NamespaceTerminating Category = "NamespaceTerminating"
	// Gone means: the history that was asked for was compacted. List again.
	Gone Category = "Gone"
	// Configuration means: what we were told about the server is wrong or unusable: a kubeconfig, an address, the CA. A
	// server certificate that does not verify belongs here and not to Authentication, because the remedy is to correct
	// what we trust; being refused for our certificate is Authentication.
	Configuration Category = "Configuration"
	// PlacementConstraint means: no target is as the Placement wants it.
	PlacementConstraint Category = "PlacementConstraint"
	// PlacementCapacity means: no target that is has enough room left.
	PlacementCapacity Category = "PlacementCapacity"
	// PlacementPolicy means: an operator keeps the work away from the targets: a taint, a cordon, a closed Location.
	PlacementPolicy Category = "PlacementPolicy"
	// MigrationFailure means: what moves cannot run where it is to be.
	MigrationFailure Category = "MigrationFailure"
	// MigrationTimeout means: what moves was not ready in time where it is to be.
	MigrationTimeout Category = "MigrationTimeout"
	// MigrationRollback means: a move that failed cannot be taken back.
	MigrationRollback Category = "MigrationRollback"
	// Projection means: the object cannot be made into a copy for the target.
	Projection Category = "Projection"
	// Aggregation means: what targets report cannot be made into one status.
	Aggregation Category = "Aggregation"
	// Canceled means: we gave up ourselves, because we are stopping.
	Canceled Category = "Canceled"
	// Internal means: all that is not known. Retrying a surprise is safe, dropping it is not.
	Internal Category = "Internal"
)

// Severity says who should care.
type Severity string

const (
	// Info means: part of normal work.
	Info Severity = "Info"
	// Warning means: expected to pass by itself.
	Warning Severity = "Warning"
	// Failure means: somebody has to change something, about one object or type.
	Failure Severity = "Failure"
	// Critical means: somebody has to change something, or nothing works at that server.
	Critical Severity = "Critical"
)

// traits are all that depends on the category.
type traits struct {
	severity Severity
	// retryable: the same may succeed without anybody changing anything.
	retryable bool
	// first and cap bound the back-off.
	first, cap time.Duration
	hint       string
}

// Categories lists every category that this package tells, in the order of the documentation.
func Categories() []Category {
	return []Category{
		NotFound, Conflict, FieldOwnership, AlreadyExists, Validation, Immutable, Permission, Admission, Quota,
		Authentication, Unreachable, Network, Unavailable, Timeout, NamespaceTerminating, Gone, Configuration,
		PlacementConstraint, PlacementCapacity, PlacementPolicy, MigrationFailure, MigrationTimeout, MigrationRollback,
		Projection, Aggregation, Canceled, Internal,
	}
}

// traits of a category. Those that somebody has to see to are looked at again too, as the remedy may be applied where
// nothing tells us (a quota, a role, a webhook); only slowly.
func (c Category) traits() traits {
	if t, ok := c.serverTraits(); ok {
		return t
	}
	if t, ok := c.fleetTraits(); ok {
		return t
	}
	switch c {
	case NotFound:
		return traits{
			Failure, true, 200 * time.Millisecond, time.Minute,
			"check that the object, its API (a CRD or APIBinding) and the workspace exist",
		}
	case Conflict:
		return traits{
			Info, true, 10 * time.Millisecond, 5 * time.Second,
			"none needed: it is tried again with the current state",
		}
	case FieldOwnership:
		return traits{
			Failure, false, time.Second, 5 * time.Minute,
			"let only one of the field managers set these fields",
		}
	case AlreadyExists:
		return traits{
			Failure, true, 100 * time.Millisecond, time.Minute,
			"remove or rename the object that has the name, or choose a conflict policy that takes it over",
		}
	case Validation:
		return traits{Failure, false, time.Second, 5 * time.Minute, "correct the object as the message says"}
	case Immutable:
		return traits{
			Failure, false, time.Second, 5 * time.Minute,
			"undo the change of the immutable fields, or delete and recreate the object",
		}
	case Permission:
		return traits{Failure, false, time.Second, 2 * time.Minute, "grant the permission that the message names"}
	case Admission:
		return traits{
			Failure, false, time.Second, 2 * time.Minute,
			"satisfy the admission webhook or policy that the message names, or change it",
		}
	case Quota:
		return traits{Failure, false, time.Second, 2 * time.Minute, "raise the quota that the message names, or use less of it"}
	case NamespaceTerminating:
		return traits{
			Warning, true, 500 * time.Millisecond, 30 * time.Second,
			"wait until the namespace is gone; if it stays, look at its status for what blocks it",
		}
	case Gone:
		return traits{Info, true, 50 * time.Millisecond, 5 * time.Second, "none needed: the state is listed anew"}
	case Projection, Aggregation:
		return traits{Failure, false, time.Second, 5 * time.Minute, "correct the annotation that the message names"}
	case Canceled:
		return traits{Info, true, 50 * time.Millisecond, time.Second, "none needed: it was given up on request"}
	default:
		return traits{Warning, true, 50 * time.Millisecond, time.Minute, "none known: report it if it lasts"}
	}
}

// serverTraits are those of what concerns a server as a whole.
func (c Category) serverTraits() (traits, bool) {
	switch c {
	case Authentication:
		return traits{
			Critical, true, time.Second, 30 * time.Second,
			"renew the credentials: the token or client certificate is expired, revoked or of another server",
		}, true
	case Unreachable:
		return traits{
			Critical, true, 200 * time.Millisecond, 15 * time.Second,
			"check that the server runs, and the address, network and firewalls between",
		}, true
	case Network:
		return traits{
			Warning, true, 200 * time.Millisecond, 15 * time.Second,
			"check that the server runs, and the network, proxies and firewalls between",
		}, true
	case Unavailable:
		return traits{
			Warning, true, 200 * time.Millisecond, 30 * time.Second,
			"none needed unless it lasts: then look at the server's health and load",
		}, true
	case Timeout:
		return traits{
			Warning, true, 200 * time.Millisecond, 30 * time.Second,
			"none needed unless it lasts: then look at the server's load and its webhooks",
		}, true
	case Configuration:
		return traits{
			Critical, true, time.Second, 30 * time.Second,
			"correct the kubeconfig, the address or the certificate authority",
		}, true
	}
	return traits{}, false
}

// fleetTraits are those of what no API says, but our own decisions about a fleet.
func (c Category) fleetTraits() (traits, bool) {
	switch c {
	case PlacementConstraint:
		return traits{Failure, false, 5 * time.Second, 5 * time.Minute, "change what the Placement asks for, or offer such targets"}, true
	case PlacementCapacity:
		return traits{Failure, true, 5 * time.Second, 5 * time.Minute, "ask for less, or add room to the targets"}, true
	case PlacementPolicy:
		return traits{
			Failure, false, 5 * time.Second, 5 * time.Minute,
			"tolerate the taint, uncordon the target, or open the Location to the workspace",
		}, true
	case MigrationFailure, MigrationTimeout:
		return traits{
			Failure, true, time.Second, 5 * time.Minute,
			"look at why the work does not run on the new target: its status and conditions there say",
		}, true
	case MigrationRollback:
		return traits{Critical, true, time.Second, 5 * time.Minute, "see to the target that the work was to return to"}, true
	}
	return traits{}, false
}

// Severity says who should care.
func (c Category) Severity() Severity { return c.traits().severity }

// Retryable tells whether the same may succeed later without anybody changing anything. What is not retryable is
// tried again all the same, with a longer back-off: nothing is dropped.
func (c Category) Retryable() bool { return c.traits().retryable }

// Domain is what the category is about, for people: the resource that was asked for, the cluster that was asked, the network
// between, a placement, a migration, a projection, an aggregation, the configuration, or the program itself.
func (c Category) Domain() string {
	switch c {
	case NotFound, Conflict, FieldOwnership, AlreadyExists, Validation, Immutable, Permission, Admission, Quota, NamespaceTerminating, Gone:
		return "resource"
	case Authentication, Unreachable, Unavailable, Timeout:
		return "cluster"
	case Network:
		return "network"
	case Configuration:
		return "configuration"
	case PlacementConstraint, PlacementCapacity, PlacementPolicy:
		return "placement"
	case MigrationFailure, MigrationTimeout, MigrationRollback:
		return "migration"
	case Projection:
		return "projection"
	case Aggregation:
		return "aggregation"
	}
	return "internal"
}

// Hint is the remedy, as a clause for a condition's message.
func (c Category) Hint() string { return c.traits().hint }

// Backoff is how long to wait before the next attempt, after attempt failures in a row (1 for the first). It doubles
// with each one up to the category's cap; random (between 0 and 1; math/rand's if nil) takes off up to half, so that
// what failed together is not retried together. It never says to stop.
func Backoff(c Category, attempt int, random func() float64) time.Duration {
	t := c.traits()
	return backoff(t.first, t.cap, attempt, random)
}

func backoff(first, limit time.Duration, attempt int, random func() float64) time.Duration {
	if random == nil {
		random = rand.Float64
	}
	exponent := float64(min(max(attempt, 1), 64) - 1)
	full := math.Min(float64(first)*math.Exp2(exponent), float64(limit))
	return time.Duration(full * (1 - random()/2))
}
