package tmc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sampler says which traces are sent. It can be changed while it is in use.
type sampler struct {
	now atomic.Pointer[sdktrace.Sampler]
}

func newSampler(ratio *float64) (*sampler, error) {
	s := &sampler{}
	err := s.set(ratio)
	return s, err
}

// ShouldSample asks the sampler of the moment.
func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return (*s.now.Load()).ShouldSample(p)
}

// Description is for people.
func (s *sampler) Description() string { return (*s.now.Load()).Description() }

// set takes what the environment says, and else the ratio.
func (s *sampler) set(ratio *float64) error {
	chosen, err := samplerFor(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG"), ratio)
	if err != nil {
		return err
	}
	s.now.Store(&chosen)
	return nil
}

// samplerFor reads the names that OpenTelemetry specifies. Unlike the SDK it refuses what it does not know.
func samplerFor(name, arg string, ratio *float64) (sdktrace.Sampler, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	root, parentBased := strings.CutPrefix(name, "parentbased_")
	var chosen sdktrace.Sampler
	switch root {
	case "":
		if parentBased {
			return nil, unknownSampler(name)
		}
		parentBased, chosen = true, sdktrace.AlwaysSample()
		if ratio != nil {
			if *ratio < 0 || *ratio > 1 {
				return nil, fmt.Errorf("tracing: the sampling ratio is %v: must be a number from 0 to 1", *ratio)
			}
			chosen = sdktrace.TraceIDRatioBased(*ratio)
		}
	case "always_on":
		chosen = sdktrace.AlwaysSample()
	case "always_off":
		chosen = sdktrace.NeverSample()
	case "traceidratio":
		fraction, err := fractionOf(arg)
		if err != nil {
			return nil, err
		}
		chosen = sdktrace.TraceIDRatioBased(fraction)
	default:
		return nil, unknownSampler(name)
	}
	if parentBased {
		chosen = sdktrace.ParentBased(chosen)
	}
	return chosen, nil
}

func unknownSampler(name string) error {
	return fmt.Errorf("tracing: OTEL_TRACES_SAMPLER is %q: must be always_on, always_off, traceidratio, or one of these with parentbased_", name)
}

// fractionOf is 1 if nothing is said.
func fractionOf(arg string) (float64, error) {
	if arg == "" {
		return 1, nil
	}
	fraction, err := strconv.ParseFloat(strings.TrimSpace(arg), 64)
	if err != nil || fraction < 0 || fraction > 1 {
		return 0, fmt.Errorf("tracing: OTEL_TRACES_SAMPLER_ARG is %q: must be a number from 0 to 1", arg)
	}
	return fraction, nil
}
