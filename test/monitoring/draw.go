package main

import (
	"context"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

type curve struct {
	name   string
	points []model.SamplePair
}

const (
	// column is the width of one of the 24 columns of a dashboard, line the height of one of its lines.
	column, line = 1.6 * vg.Centimeter, 0.75 * vg.Centimeter
	// heading is the height of the dashboard's title.
	heading = 1.2 * vg.Centimeter
	// mostNamed is how many curves of a panel are named.
	mostNamed = 6
)

// draw makes the picture of a dashboard, with each panel in its place.
func (s *prometheusServer) draw(ctx context.Context, d *dashboard, in span, path string) error {
	lines, shown := 0, 0
	for _, p := range d.Panels {
		lines = max(lines, p.GridPos.Y+p.GridPos.H)
	}
	width, height := 24*column, vg.Length(lines)*line+heading
	picture := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(72), vgimg.UseBackgroundColor(color.White))
	canvas := draw.New(picture)
	write(canvas, d.Title+", drawn from the queries of config/grafana", 14, vg.Point{X: column / 2, Y: height - heading*2/3})
	var empty []string
	for _, p := range d.Panels {
		top := height - heading - vg.Length(p.GridPos.Y)*line
		area := draw.Crop(canvas, vg.Length(p.GridPos.X)*column, vg.Length(p.GridPos.X+p.GridPos.W)*column-width, top-vg.Length(p.GridPos.H)*line, top-height)
		if p.row() {
			write(area, p.Title, 12, vg.Point{X: area.Min.X + column/4, Y: area.Min.Y + line/4})
			continue
		}
		curves, err := s.series(ctx, p, in)
		if err != nil {
			return err
		}
		if len(curves) == 0 {
			empty = append(empty, p.Title)
		} else {
			shown++
		}
		if err := drawPanel(area, p, curves, in); err != nil {
			return fmt.Errorf("%s: %w", p.Title, err)
		}
	}
	fmt.Printf("%s: %d panels show something; nothing to show: %s\n", d.Title, shown, strings.Join(empty, ", "))
	return save(picture, path)
}

func save(picture *vgimg.Canvas, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: picture}).WriteTo(file); err != nil {
		return err
	}
	return file.Close()
}

func write(canvas draw.Canvas, text string, size vg.Length, at vg.Point) {
	style := draw.TextStyle{Color: color.Black, Font: font.From(plot.DefaultFont, size), Handler: plot.DefaultTextHandler}
	canvas.FillText(style, at, text)
}

func drawPanel(area draw.Canvas, p panel, curves []curve, in span) error {
	diagram := plot.New()
	diagram.Title.Text, diagram.Title.TextStyle.Font.Size = p.Title, 11
	diagram.Y.Label.Text, diagram.Y.Min = unit(p.FieldConfig.Defaults.Unit), 0
	diagram.Y.Tick.Label.Font.Size, diagram.X.Tick.Label.Font.Size = 8, 8
	diagram.X.Min, diagram.X.Max = 0, in.to.Sub(in.from).Seconds()
	diagram.X.Label.Text, diagram.X.Label.TextStyle.Font.Size, diagram.Y.Label.TextStyle.Font.Size = "seconds of the story", 8, 8
	diagram.Legend.Top, diagram.Legend.Left, diagram.Legend.TextStyle.Font.Size = true, true, 8
	diagram.Add(plotter.NewGrid())
	highest := 0.0
	for i, c := range curves {
		points := pointsOf(c, in.from)
		for _, point := range points {
			highest = math.Max(highest, point.Y)
		}
		if len(points) == 0 {
			continue
		}
		drawn, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		drawn.Color, drawn.StepStyle = plotutil.Color(i), plotter.PostStep
		diagram.Add(drawn)
		switch {
		case i < mostNamed:
			diagram.Legend.Add(c.name, drawn)
		case i == mostNamed:
			diagram.Legend.Add(fmt.Sprintf("and %d more", len(curves)-mostNamed))
		}
	}
	if highest == 0 {
		highest = 1
	}
	diagram.Y.Max = highest * 1.6 // room for the legend
	diagram.Draw(draw.Crop(area, 4, -8, 4, -4))
	return nil
}

func pointsOf(c curve, from time.Time) plotter.XYs {
	var points plotter.XYs
	for _, sample := range c.points {
		if value := float64(sample.Value); !math.IsNaN(value) && !math.IsInf(value, 0) {
			points = append(points, plotter.XY{X: sample.Timestamp.Time().Sub(from).Seconds(), Y: value})
		}
	}
	return points
}

// unit is what people call the units of Grafana.
func unit(name string) string {
	if known, ok := map[string]string{
		"s": "seconds", "short": "", "ops": "per second", "reqps": "requests per second", "wps": "writes per second", "percentunit": "share", "bytes": "bytes",
	}[name]; ok {
		return known
	}
	return name
}
