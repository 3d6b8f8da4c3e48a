// Package layers holds tests of the shape of the source: who may import whom, where the wire protocol is spelled, and what
// no committed file may name. A package that its table does not list fails them.
package layers
