package tmc

import (
	"context"

	"golang.org/x/time/rate"

	"k8s.io/client-go/util/flowcontrol"
)

// limiter is one bucket of requests for all clients of a server, and can be changed while they wait at it.
type limiter struct{ bucket *rate.Limiter }

var _ flowcontrol.RateLimiter = limiter{}

func newLimiter() limiter { return limiter{rate.NewLimiter(rate.Inf, 0)} }

// limit sets the rate; a negative one is none.
func (l limiter) limit(qps float32, burst int) {
	if qps < 0 {
		l.bucket.SetLimit(rate.Inf)
		return
	}
	l.bucket.SetBurst(max(burst, 1))
	l.bucket.SetLimit(rate.Limit(qps))
}

// TryAccept and the others implement flowcontrol.RateLimiter.
func (l limiter) TryAccept() bool { return l.bucket.Allow() }

// Accept waits for its turn.
func (l limiter) Accept() { _ = l.Wait(context.Background()) }

// Wait waits for its turn, or until ctx is done.
func (l limiter) Wait(ctx context.Context) error { return l.bucket.Wait(ctx) }

// QPS is the rate.
func (l limiter) QPS() float32 { return float32(l.bucket.Limit()) }

// Stop does nothing.
func (l limiter) Stop() {}
