package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// The folders of what is read here, from the root of the repository.
const (
	rulesFolder      = "config/prometheus"
	dashboardsFolder = "config/grafana"
)

// dashboards are the names of the files.
var dashboards = []string{"fleet", "syncer"}

// dashboard is as much of a Grafana dashboard as matters here.
type dashboard struct {
	UID, Title, Description string
	Tags                    []string
	SchemaVersion           int
	Panels                  []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []target
	FieldConfig              struct {
		Defaults struct {
			Unit string
			Max  *float64
		}
	}
}

// row is a heading, which shows nothing itself.
func (p panel) row() bool { return p.Type == "row" }

type target struct {
	Expr, LegendFormat string
	Exemplar           bool
}

// query is the expression with values for the variables of Grafana.
func (t target) query(cluster, interval string) string {
	return strings.NewReplacer("$__rate_interval", interval, "$cluster", cluster).Replace(t.Expr)
}

func readDashboard(root, name string) (*dashboard, error) {
	raw, err := os.ReadFile(root + "/" + dashboardsFolder + "/" + name + ".json")
	if err != nil {
		return nil, err
	}
	d := &dashboard{}
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", name, err)
	}
	return d, nil
}
