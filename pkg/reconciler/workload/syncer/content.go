package syncer

import (
	"bytes"
	"hash/maphash"
	"maps"
	"sync"
	"weak"
)

// content is the JSON of an object without its type and metadata. Nobody changes it, so that objects may share it.
type content struct{ json []byte }

// contents finds the content that an object of the same type has already. What has no status mostly says the same on both sides, so
// it is held once: ConfigMaps and Secrets are the most and the largest of what is synced, and take little more than half of the
// memory by it. Contents that no object has any more are forgotten. It is safe for concurrent use; nil shares nothing.
type contents struct {
	seed maphash.Seed

	mu   sync.Mutex
	held map[uint64]weak.Pointer[content]
	// sweepAt is how many may be held until those are looked for that nobody has any more.
	sweepAt int
}

// fewContents are not worth looking through.
const fewContents = 1000

func newContents() *contents {
	return &contents{seed: maphash.MakeSeed(), held: map[uint64]weak.Pointer[content]{}, sweepAt: fewContents}
}

// keep gives the content that says this, which may change later.
func (c *contents) keep(raw []byte) *content {
	if c == nil {
		return &content{bytes.Clone(raw)}
	}
	hash := maphash.Bytes(c.seed, raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.held[hash].Value(); found != nil && bytes.Equal(found.json, raw) {
		return found
	}
	if len(c.held) >= c.sweepAt {
		c.sweep()
	}
	kept := &content{bytes.Clone(raw)}
	c.held[hash] = weak.Make(kept)
	return kept
}

// sweep forgets what nobody has any more. The next one is when there are twice as many as are left.
func (c *contents) sweep() {
	maps.DeleteFunc(c.held, func(_ uint64, p weak.Pointer[content]) bool { return p.Value() == nil })
	c.sweepAt = max(2*len(c.held), fewContents)
}
