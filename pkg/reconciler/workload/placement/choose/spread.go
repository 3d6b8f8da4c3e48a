package choose

import (
	"fmt"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// domainCount is how many selected targets each domain of a constraint has.
type domainCount struct {
	constraint schedulingv1alpha1.TopologySpreadConstraint
	of         map[string]int
	fewest     int
}

// constraints are those of the spec; the strategy Spread without any spreads over Locations.
func (p *pass) constraints() []schedulingv1alpha1.TopologySpreadConstraint {
	spec := &p.Placement.Spec
	if len(spec.TopologySpreadConstraints) == 0 && spec.Strategy == schedulingv1alpha1.Spread {
		return []schedulingv1alpha1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: schedulingv1alpha1.LocationTopologyKey, WhenUnsatisfiable: schedulingv1alpha1.ScheduleAnyway,
		}}
	}
	return spec.TopologySpreadConstraints
}

// countDomains counts the domains that Locations and required affinity allow, and those of what is selected.
func (p *pass) countDomains() []domainCount {
	var out []domainCount
	for _, constraint := range p.constraints() {
		count := domainCount{constraint: constraint, of: map[string]int{}}
		for _, t := range p.targets {
			if t.Deleting || len(p.offer.locationsOf[t.Key]) == 0 || !p.affine(t) {
				continue
			}
			if domain, ok := t.domain(constraint.TopologyKey, p.offer.locationsOf[t.Key][0]); ok {
				count.of[domain] += 0
			}
		}
		for _, entry := range p.selected {
			if domain, ok := p.domainOf(&entry, constraint.TopologyKey); ok {
				count.of[domain]++
			}
		}
		count.fewest = fewest(count.of)
		out = append(out, count)
	}
	return out
}

func (p *pass) domainOf(entry *schedulingv1alpha1.SelectedTarget, topologyKey string) (string, bool) {
	target := p.byKey[entry.Key]
	if target == nil {
		return "", false
	}
	return target.domain(topologyKey, entry.Location)
}

func fewest(of map[string]int) int {
	least, first := 0, true
	for _, n := range of {
		if first || n < least {
			least, first = n, false
		}
	}
	return least
}

// crowd is how crowded the domains of a selected target are.
func (p *pass) crowd(counts []domainCount, entry *schedulingv1alpha1.SelectedTarget) (sum int) {
	for _, count := range counts {
		if domain, ok := p.domainOf(entry, count.constraint.TopologyKey); ok {
			sum += count.of[domain]
		}
	}
	return sum
}

// spreadOf gives the candidate the part of its score that depends on what is selected; if a constraint forbids it, it says
// why.
func (p *pass) spreadOf(c *candidate, counts []domainCount) (why string) {
	var excess int
	for _, count := range counts {
		domain, ok := c.target.domain(count.constraint.TopologyKey, c.location)
		over := mostSpread
		if ok {
			over = count.of[domain] - count.fewest
		}
		if count.constraint.WhenUnsatisfiable == schedulingv1alpha1.ScheduleAnyway {
			excess += over
			continue
		}
		if !ok {
			return fmt.Sprintf("without the topologyKey %s", count.constraint.TopologyKey)
		}
		if over+1 > int(max(count.constraint.MaxSkew, 1)) {
			return fmt.Sprintf("beyond maxSkew %d over %s", count.constraint.MaxSkew, count.constraint.TopologyKey)
		}
		excess += over
	}
	c.spread = -spreadPenalty * int32(min(excess, mostSpread))
	if p.Placement.Spec.Strategy == schedulingv1alpha1.Spread {
		c.spread *= spreadFirst
	}
	return ""
}
