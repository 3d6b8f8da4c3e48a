package virtualworkspace

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"
)

// seen remembers what passes by on the way to the targets: which of their objects are on no other target, and have no rules of
// their own, so that the
// status of those, by far the commonest write, needs no look at the object first. What is remembered decides nothing
// about whose object it is: kcp tests that with the write. It is used only while the target watches the type, because
// then it is told of every change; what was forgotten or never known costs a look.
type seen struct {
	clock clock.PassiveClock
	lock  sync.Mutex
	types map[seenType]*seenObjects
	// room is how many more objects can be remembered.
	room int
}

// objectsSeen bounds the memory: about 200 bytes each.
const objectsSeen = 500_000

// seenType is a type in one target's view of one shard.
type seenType struct {
	target TargetRef
	shard  string
	gvr    schema.GroupVersionResource
}

type seenObject struct {
	cluster         logicalcluster.Name
	namespace, name string
}

type seenObjects struct {
	watches int
	// used is when a list began, or the last watch ended: another watch goes on from there.
	used  time.Time
	alone map[seenObject]string // the UIDs of those that are on no other target
}

// seenPatience is how long a target may take until it watches again.
const seenPatience = 2 * time.Minute

func newSeen(c clock.PassiveClock) *seen {
	return &seen{clock: c, types: map[seenType]*seenObjects{}, room: objectsSeen}
}

func (r request) seenType() seenType { return seenType{target: r.target, shard: r.shard, gvr: r.gvr} }

// list is to be called when a list of all of a target's objects of the type begins: a watch follows.
func (s *seen) list(t seenType) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.of(t).used = s.clock.Now()
}

// watch is to be called when a watch of all of a target's objects of the type begins; done when it ends.
func (s *seen) watch(t seenType) (done func()) {
	s.lock.Lock()
	defer s.lock.Unlock()
	objects := s.of(t)
	objects.watches++
	return func() {
		s.lock.Lock()
		defer s.lock.Unlock()
		objects.watches--
		objects.used = s.clock.Now()
	}
}

// forget drops what no watch keeps up to date.
func (s *seen) forget() {
	s.lock.Lock()
	defer s.lock.Unlock()
	for t, objects := range s.types {
		if objects.watches == 0 && s.clock.Since(objects.used) > seenPatience {
			s.room += len(objects.alone)
			delete(s.types, t)
		}
	}
}

func (s *seen) of(t seenType) *seenObjects {
	if s.types[t] == nil {
		s.types[t] = &seenObjects{alone: map[seenObject]string{}}
	}
	return s.types[t]
}

// note remembers an object as it passes by.
func (s *seen) note(t seenType, f facts, gone bool) {
	id := seenObject{cluster: logicalcluster.Name(f.cluster), namespace: f.namespace, name: f.name}
	s.lock.Lock()
	defer s.lock.Unlock()
	objects := s.types[t]
	if objects == nil {
		return
	}
	_, known := objects.alone[id]
	switch {
	case gone || f.others || f.ruled():
		if known {
			delete(objects.alone, id)
			s.room++
		}
	case known || s.room > 0:
		if !known {
			s.room--
		}
		objects.alone[id] = f.uid
	}
}

// alone gives the UID of an object that is on no other target; ok is false if that is not known.
func (s *seen) alone(r request) (uid string, ok bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	objects := s.types[r.seenType()]
	if objects == nil || objects.watches == 0 {
		return "", false
	}
	uid, ok = objects.alone[seenObject{cluster: r.cluster, namespace: r.namespace, name: r.name}]
	return uid, ok
}
