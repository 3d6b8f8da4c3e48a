package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// curve is one figure of points.
type curve struct {
	name  string
	value func(point) float64
}

// panel is a diagram of curves with the same unit.
type panel struct {
	unit   string
	curves []curve
}

var panels = []panel{
	{"seconds", []curve{
		{"restart until ready", func(p point) float64 { return p.ReadySeconds }},
		{"CPU of a restart", func(p point) float64 { return p.RestartCPU }},
	}},
	{"MiB", []curve{
		{"live heap", func(p point) float64 { return p.LiveHeap }},
		{"resident", func(p point) float64 { return p.Resident }},
	}},
	{"CPU per copy, ms", []curve{{"", func(p point) float64 { return p.CPUPerCopy }}}},
}

// drawings are the pictures of the growth: what is on their x axis, and which points are in them.
var drawings = []struct {
	file, label string
	x           func(point) float64
	scenario    string
}{
	{"growth-objects.svg", "objects", func(p point) float64 { return float64(p.Objects) }, "memory"},
	{"growth-workspaces.svg", "workspaces", func(p point) float64 { return float64(p.Workspaces) }, "growth"},
}

// drawGrowth writes the pictures for which there are points.
func drawGrowth(dir string, points []point) error {
	for _, d := range drawings {
		of := slices.DeleteFunc(slices.Clone(points), func(p point) bool { return p.Scenario != d.scenario })
		if len(of) < 2 {
			continue
		}
		if err := drawPanels(filepath.Join(dir, d.file), d.label, d.x, of); err != nil {
			return fmt.Errorf("drawing %s: %w", d.file, err)
		}
	}
	return nil
}

func drawPanels(path, label string, x func(point) float64, points []point) error {
	row := make([]*plot.Plot, len(panels))
	for i, of := range panels {
		row[i] = plot.New()
		row[i].X.Label.Text, row[i].Y.Label.Text = label, of.unit
		row[i].X.Min, row[i].Y.Min = 0, 0
		row[i].Legend.Top, row[i].Legend.Left = true, true
		for j, c := range of.curves {
			if err := addCurve(row[i], j, c, x, points); err != nil {
				return err
			}
		}
	}
	canvas := vgsvg.New(24*vg.Centimeter, 8*vg.Centimeter)
	tiles := draw.Tiles{Rows: 1, Cols: len(row), PadX: vg.Centimeter, PadRight: vg.Centimeter / 2, PadTop: vg.Centimeter / 2}
	for i, part := range plot.Align([][]*plot.Plot{row}, tiles, draw.New(canvas))[0] {
		row[i].Draw(part)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

func addCurve(to *plot.Plot, number int, c curve, x func(point) float64, points []point) error {
	xys := make(plotter.XYs, len(points))
	for i, p := range points {
		xys[i] = plotter.XY{X: x(p), Y: c.value(p)}
		to.X.Max, to.Y.Max = max(to.X.Max, xys[i].X), max(to.Y.Max, xys[i].Y*1.1)
	}
	line, dots, err := plotter.NewLinePoints(xys)
	if err != nil {
		return err
	}
	line.Color, dots.Color, dots.Shape = plotutil.Color(number), plotutil.Color(number), plotutil.Shape(number)
	to.Add(line, dots)
	if c.name != "" {
		to.Legend.Add(c.name, line, dots)
	}
	return nil
}
