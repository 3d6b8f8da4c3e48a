package v1alpha1

// This file spells every condition type and reason of this group. docs/reference/conditions.md is generated from it: a block
// that begins with a condition type is a section, its doc comment the introduction, the other constants the reasons.

// Condition Compatible of an APIResourceImport: the cluster takes the objects that tenants can create. The syncer tells it on,
// as the state of the resource in the SyncTarget's status.
const (
	ImportCompatible = "Compatible"

	// Status True. The cluster takes whatever tenants can create.
	ReasonAcceptsAll = "AcceptsAll"
	// Status True. The cluster takes objects of this resource, but not all that tenants can create: the message names
	// the fields that it does not know, or is stricter about. Objects that use them are refused by this cluster, or
	// lose these fields. Upgrade the cluster, or place such objects elsewhere.
	ReasonNarrower = "Narrower"
	// Status False. What the cluster serves and what tenants are offered have nothing in common: the message names the
	// fields and why. Change the resource in this cluster, or do not export it from there.
	ReasonIncompatible = "Incompatible"
	// Status False. The schema in the import cannot be read, or is no structural schema. The message says why.
	ReasonInvalidSchema = "InvalidSchema"
)

// Condition Available of an APIResourceImport: tenants are offered this version of the resource.
const (
	ImportAvailable = "Available"

	// Status True. It is among the resources of the APIExport.
	ReasonOffered = "Offered"
	// Status False. It is not among the resources of the APIExport. The condition Published of the
	// NegotiatedAPIResource tells why.
	ReasonNotOffered = "NotOffered"
)

// Condition Compatible of a NegotiatedAPIResource: every cluster that serves the resource takes what tenants are offered.
const (
	NegotiatedCompatible = "Compatible"

	// Status True. Every cluster that serves the resource takes what tenants are offered, or the message names the
	// fields that some do not take.
	ReasonNegotiated = "Negotiated"
	// Status False. Some clusters have nothing in common with the others; the message names them, the field and why.
	// The others are not affected. Oldest imports come first: what they have in common is offered.
	ReasonSomeIncompatible = "SomeIncompatible"
	// Status False. No cluster serves the resource any more. It stays offered, because tenants may have objects of it;
	// set publish to false to take it back.
	ReasonNoImports = "NoImports"
)

// Condition Published of a NegotiatedAPIResource: tenants are offered the resource.
const (
	NegotiatedPublished = "Published"

	// Status True. Tenants are offered what the clusters have in common.
	ReasonPublished = "Published"
	// Status True. Tenants are offered what kubectl workload init installed, which the clusters do not change.
	ReasonInstalled = "Installed"
	// Status True. Tenants are offered more than the clusters have in common now, because some workspace has objects of
	// the resource and a narrower schema could refuse them. The message names the fields. Bring the clusters back, or
	// delete the objects.
	ReasonNarrowingHeldBack = "NarrowingHeldBack"
	// Status True. The resource shall not be published any more, but some workspace has objects of it. Delete them.
	ReasonStillUsed = "StillUsed"
	// Status False. spec.publish is false.
	ReasonNotPublished = "NotPublished"
	// Status False. Another version of the resource is offered; kcp offers one. The message names it.
	ReasonOtherVersion = "OtherVersion"
	// Status False. There is no schema to offer: no cluster serves the resource with a usable one.
	ReasonNothingToOffer = "NothingToOffer"
	// Status False. kcp refused the schema. The message says why. It is tried again.
	ReasonSchemaRefused = "SchemaRefused"
)
