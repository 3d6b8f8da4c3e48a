package chaos

import "slices"

// FaultKind is a way in which something breaks.
type FaultKind string

// The kinds of faults. The words are those of the report.
const (
	LinkCut       FaultKind = "link cut"
	LinkReset     FaultKind = "link reset again and again"
	LinkHang      FaultKind = "link hangs"
	LinkSlow      FaultKind = "link slow"
	LinkForgets   FaultKind = "streams dropped silently"
	ProgramKilled FaultKind = "program killed"
	ProgramPaused FaultKind = "program paused"
	ClockSkewed   FaultKind = "clock skewed"
	ServerKilled  FaultKind = "API server killed"
	ServerPaused  FaultKind = "API server paused"
	Compaction    FaultKind = "etcd compacted"
	TokenRotated  FaultKind = "token rotated"
	Errors        FaultKind = "429, 500, 503, 504"
	Malformed     FaultKind = "malformed answers"
	Expired       FaultKind = "410 Gone"
	WebhookNo     FaultKind = "webhook rejects"
	QuotaFull     FaultKind = "quota exhausted"
	Terminating   FaultKind = "namespace hangs in Terminating"
)

// FaultKinds are all of them.
var FaultKinds = []FaultKind{
	LinkCut, LinkReset, LinkHang, LinkSlow, LinkForgets, ProgramKilled, ProgramPaused, ClockSkewed, ServerKilled, ServerPaused,
	Compaction, TokenRotated, Errors, Malformed, Expired, WebhookNo, QuotaFull, Terminating,
}

// Links, programs and servers by the names that faults have for them.
var (
	links    = []string{"east to kcp", "east to its cluster", "west to kcp", "west to its cluster", "manager to kcp"}
	programs = []string{"syncer of east", "syncer of west", "manager"}
	servers  = []string{"cluster east", "cluster west", "kcp"}
	clusters = []string{"cluster east", "cluster west"}
)

// places are where a kind of faults can be.
func (k FaultKind) places() []string {
	switch k {
	case ProgramKilled, ProgramPaused, ClockSkewed:
		return programs
	case ServerKilled, ServerPaused, Compaction:
		return servers
	case TokenRotated:
		return slices.Concat(links[:4])
	case WebhookNo, QuotaFull, Terminating:
		return clusters
	default:
		return links
	}
}

// killsProgram is whether a syncer or the manager ends by it, and with it what it may have leaked.
func (k FaultKind) killsProgram() bool { return k == ProgramKilled || k == ClockSkewed }
