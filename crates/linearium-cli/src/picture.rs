//! Views as PNG: the same arrays and axes as on the page, drawn plainly, for scripts and reports.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};
use linearium::number::short;
use linearium::views::{Axis, Drawing, Panel, Scale, View};

use crate::files::NewFile;

type Colour = [u8; 3];

const WIDTH: usize = 960;
const HEIGHT: usize = 600;
/// Left, right, top and bottom of what is drawn on.
const PLOT: [usize; 4] = [110, 930, 70, 500];
const INK: Colour = [26, 29, 32];
const QUIET: Colour = [90, 96, 104];
const GRID: Colour = [228, 230, 230];
const MISSING: Colour = [217, 219, 220];
/// Okabe and Ito's hues, darkened.
const SERIES: [Colour; 6] = [
    [11, 95, 165],
    [180, 80, 10],
    [10, 122, 91],
    [138, 75, 156],
    [122, 106, 0],
    [27, 138, 166],
];
/// Viridis at equal steps.
const VIRIDIS: [Colour; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];

/// Writes a picture of every view that is one, `<panel>_<view>.png`.
///
/// # Errors
/// One sentence if the folder or a file cannot be written.
pub fn write_all(panel: &Panel, folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder)
        .map_err(|e| format!("{} cannot be made: {e}", folder.display()))?;
    for view in &panel.views {
        let Some(canvas) = draw(view) else {
            continue;
        };
        let path = folder.join(format!("{}_{}.png", panel.id, view.id));
        let mut file = NewFile::create(&path)?;
        let png = canvas
            .png()
            .map_err(|e| format!("{} cannot be packed: {e}", path.display()))?;
        file.write(&png)?;
        file.finish()?;
    }
    Ok(())
}

struct Canvas(Vec<u8>);

impl Canvas {
    fn new() -> Canvas {
        Canvas(vec![255; WIDTH * HEIGHT * 3])
    }

    /// Covers a pixel by this share.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, share: f64) {
        if !(0..WIDTH as i64).contains(&x) || !(0..HEIGHT as i64).contains(&y) {
            return;
        }
        let at = (y as usize * WIDTH + x as usize) * 3;
        for (old, new) in self.0[at..at + 3].iter_mut().zip(colour) {
            let mixed = f64::from(*old) + (f64::from(new) - f64::from(*old)) * share.min(1.0);
            *old = mixed.round() as u8;
        }
    }

    fn fill(&mut self, [x0, x1]: [f64; 2], [y0, y1]: [f64; 2], colour: Colour) {
        for y in y0.round() as i64..y1.round() as i64 {
            for x in x0.round() as i64..x1.round() as i64 {
                self.blend(x, y, colour, 1.0);
            }
        }
    }

    /// A line of this width, with soft edges.
    fn line(&mut self, a: [f64; 2], b: [f64; 2], width: f64, colour: Colour) {
        let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
        let length2 = (dx * dx + dy * dy).max(1e-9);
        let reach = width / 2.0 + 1.0;
        let span = |i: usize| {
            let (low, high) = (a[i].min(b[i]) - reach, a[i].max(b[i]) + reach);
            low.floor() as i64..high.ceil() as i64 + 1
        };
        for y in span(1) {
            for x in span(0) {
                let [px, py] = [x as f64 - a[0], y as f64 - a[1]];
                let along = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
                let distance = (px - along * dx).hypot(py - along * dy);
                let share = width / 2.0 + 0.5 - distance;
                if share > 0.0 {
                    self.blend(x, y, colour, share);
                }
            }
        }
    }

    /// Writes with the top left corner here; letters are 8 pixels wide at size 1.
    fn text(&mut self, text: &str, x: usize, y: usize, size: usize, colour: Colour) {
        let glyph = |c: char| {
            BASIC_FONTS
                .get(c)
                .or_else(|| LATIN_FONTS.get(c))
                .or_else(|| GREEK_FONTS.get(c))
        };
        let plain = text.chars().map(|c| match c {
            '−' | '–' => '-',
            '“' | '”' => '"',
            '½' => 'h',
            other => other,
        });
        for (n, c) in plain.enumerate() {
            let rows = glyph(c).or_else(|| glyph('?')).unwrap_or_default();
            for (row, bits) in rows.iter().enumerate() {
                for column in (0..8).filter(|i| bits >> i & 1 == 1) {
                    let left = (x + (n * 8 + column) * size) as f64;
                    let top = (y + row * size) as f64;
                    let side = size as f64;
                    self.fill([left, left + side], [top, top + side], colour);
                }
            }
        }
    }

    fn png(&self) -> std::io::Result<Vec<u8>> {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.0.chunks_exact(WIDTH * 3) {
            packed.write_all(&[0])?;
            packed.write_all(row)?;
        }
        let mut header = Vec::new();
        header.extend((WIDTH as u32).to_be_bytes());
        header.extend((HEIGHT as u32).to_be_bytes());
        // 8 bits, RGB, and the only methods that there are.
        header.extend([8, 2, 0, 0, 0]);
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let data = packed.finish()?;
        for (kind, body) in [(b"IHDR", &header), (b"IDAT", &data), (b"IEND", &Vec::new())] {
            let mut crc = flate2::Crc::new();
            crc.update(kind);
            crc.update(body);
            out.extend((body.len() as u32).to_be_bytes());
            out.extend(kind);
            out.extend(body);
            out.extend(crc.sum().to_be_bytes());
        }
        Ok(out)
    }
}

/// From values to pixels along one axis.
#[derive(Clone, Copy)]
struct Along {
    scale: Scale,
    from: f64,
    to: f64,
    pixels: [f64; 2],
}

impl Along {
    /// The axis over its domain, or over the values that it can show.
    fn new(axis: &Axis, values: impl Iterator<Item = f32>, pixels: [usize; 2]) -> Option<Along> {
        let shows = |v: &f64| v.is_finite() && (axis.scale != Scale::Log || *v > 0.0);
        let values: Vec<f64> = values.map(f64::from).filter(shows).collect();
        let ends = axis.domain.filter(|d| d.iter().all(shows));
        let [from, to] = ends.or_else(|| {
            let low = values.iter().copied().reduce(f64::min)?;
            let high = values.iter().copied().reduce(f64::max)?;
            Some([low, high])
        })?;
        let one_value = from == to;
        let (from, to) = match (one_value, axis.scale) {
            (false, _) => (from, to),
            (true, Scale::Log) => (from / 2.0, to * 2.0),
            (true, _) => (from - 0.5, to + 0.5),
        };
        Some(Along {
            scale: axis.scale,
            from,
            to,
            pixels: pixels.map(|p| p as f64),
        })
    }

    fn bent(&self, v: f64) -> f64 {
        match self.scale {
            Scale::Linear => v,
            Scale::Log => v.ln(),
            Scale::Symlog => v.asinh(),
        }
    }

    /// 0 at one end, 1 at the other.
    fn share(&self, v: f64) -> f64 {
        let [from, to] = [self.from, self.to].map(|v| self.bent(v));
        (self.bent(v) - from) / (to - from)
    }

    fn pixel(&self, v: f64) -> f64 {
        let [start, end] = self.pixels;
        start + (end - start) * self.share(v)
    }

    /// The ends and three values between them.
    fn ticks(&self) -> [f64; 5] {
        let [from, to] = [self.from, self.to].map(|v| self.bent(v));
        [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| {
            let v = from + (to - from) * part;
            match self.scale {
                Scale::Linear => v,
                Scale::Log => v.exp(),
                Scale::Symlog => v.sinh(),
            }
        })
    }
}

fn named(axis: &Axis) -> String {
    match axis.unit.as_str() {
        "" => axis.label.clone(),
        unit => format!("{} ({unit})", axis.label),
    }
}

fn frame(canvas: &mut Canvas, view: &View, [x, y]: [(&Axis, Along); 2]) {
    let [left, right, top, bottom] = PLOT;
    canvas.text(&view.title, 20, 16, 2, INK);
    canvas.text(&named(y.0), 20, 44, 1, QUIET);
    canvas.text(&named(x.0), left, bottom + 32, 1, QUIET);
    for v in x.1.ticks() {
        let at = x.1.pixel(v);
        canvas.line([at, top as f64], [at, bottom as f64], 1.0, GRID);
        let label = short(v);
        let start = (at as usize).saturating_sub(label.len() * 4);
        canvas.text(&label, start, bottom + 12, 1, QUIET);
    }
    for v in y.1.ticks() {
        let at = y.1.pixel(v);
        canvas.line([left as f64, at], [right as f64, at], 1.0, GRID);
        let label = short(v);
        let start = left.saturating_sub(label.len() * 8 + 10);
        canvas.text(&label, start, (at as usize).saturating_sub(4), 1, QUIET);
    }
}

fn legend<'a>(canvas: &mut Canvas, entries: impl Iterator<Item = (&'a str, Colour)>) {
    let (mut x, mut y) = (PLOT[0], PLOT[3] + 54);
    for (label, colour) in entries {
        let width = 30 + label.chars().count() * 8;
        if x + width > WIDTH {
            (x, y) = (PLOT[0], y + 16);
        }
        if y + 8 > HEIGHT {
            return;
        }
        canvas.fill(
            [x as f64, x as f64 + 14.0],
            [y as f64 + 2.0, y as f64 + 6.0],
            colour,
        );
        canvas.text(label, x + 20, y, 1, INK);
        x += width + 10;
    }
}

fn viridis(share: f64) -> Colour {
    let at = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let low = (at as usize).min(VIRIDIS.len() - 2);
    let part = at - low as f64;
    std::array::from_fn(|i| {
        let [a, b] = [VIRIDIS[low][i], VIRIDIS[low + 1][i]].map(f64::from);
        (a + (b - a) * part).round() as u8
    })
}

/// The picture, or nothing for words and tables and where there is nothing to draw.
fn draw(view: &View) -> Option<Canvas> {
    let [left, right, top, bottom] = PLOT;
    let mut canvas = Canvas::new();
    match &view.drawing {
        Drawing::Lines(lines) => {
            let all = |of: fn(&linearium::views::Series) -> &Vec<f32>| {
                lines.series.iter().flat_map(move |s| of(s).iter().copied())
            };
            let x = Along::new(&lines.x, all(|s| &s.x), [left, right])?;
            let y = Along::new(&lines.y, all(|s| &s.y), [bottom, top])?;
            frame(&mut canvas, view, [(&lines.x, x), (&lines.y, y)]);
            let colour = |i: usize| SERIES[i % SERIES.len()];
            for (i, s) in lines.series.iter().enumerate() {
                let points: Vec<[f64; 2]> =
                    s.x.iter()
                        .zip(&s.y)
                        .map(|(&a, &b)| [x.pixel(a.into()), y.pixel(b.into())])
                        .collect();
                for pair in points.windows(2) {
                    if pair.iter().flatten().all(|v| v.is_finite()) {
                        let width = if s.emphasis { 2.4 } else { 1.2 };
                        // A curve that leaves the plot is cut at its edge.
                        let edge = |p: [f64; 2]| [p[0], p[1].clamp(top as f64, bottom as f64)];
                        canvas.line(edge(pair[0]), edge(pair[1]), width, colour(i));
                    }
                }
            }
            for mark in &lines.marks {
                let [a, b] = if mark.vertical {
                    let at = x.pixel(mark.value);
                    [[at, top as f64], [at, bottom as f64]]
                } else {
                    let at = y.pixel(mark.value);
                    [[left as f64, at], [right as f64, at]]
                };
                canvas.line(a, b, 1.2, QUIET);
                canvas.text(&mark.label, a[0] as usize + 4, a[1] as usize + 4, 1, QUIET);
            }
            let names = lines.series.iter().enumerate();
            legend(
                &mut canvas,
                names.map(|(i, s)| (s.label.as_str(), colour(i))),
            );
        }
        Drawing::Heatmap(map) => {
            let edge = |axis: &Axis, count: usize| Axis {
                domain: Some(axis.domain.unwrap_or([0.0, count as f64])),
                ..axis.clone()
            };
            let (x_axis, y_axis) = (edge(&map.x, map.columns), edge(&map.y, map.rows));
            let x = Along::new(&x_axis, [].into_iter(), [left, right])?;
            // The first row stands on top.
            let y = Along::new(&y_axis, [].into_iter(), [top, bottom])?;
            frame(&mut canvas, view, [(&x_axis, x), (&y_axis, y)]);
            let shade = Along::new(&map.value, map.values.iter().copied(), [0, 1])?;
            let cell = [right - left, bottom - top].map(|d| d as f64);
            let [w, h] = [cell[0] / map.columns as f64, cell[1] / map.rows as f64];
            for (i, &v) in map.values.iter().enumerate() {
                let (row, column) = (i / map.columns, i % map.columns);
                let (x0, y0) = (left as f64 + column as f64 * w, top as f64 + row as f64 * h);
                let share = shade.share(v.into());
                let colour = if share.is_finite() {
                    viridis(share)
                } else {
                    MISSING
                };
                canvas.fill([x0, x0 + w], [y0, y0 + h], colour);
            }
            let ends = format!(
                "{}: {} (dark) to {} (light)",
                named(&map.value),
                short(shade.from),
                short(shade.to)
            );
            canvas.text(&ends, left, bottom + 54, 1, INK);
        }
        Drawing::Histogram(bars) => {
            let counts = bars.series.iter().flat_map(|s| s.counts.iter().copied());
            let x = Along::new(&bars.x, bars.edges.iter().copied(), [left, right])?;
            let y = Along::new(&bars.y, counts.chain([0.0]), [bottom, top])?;
            frame(&mut canvas, view, [(&bars.x, x), (&bars.y, y)]);
            for (i, s) in bars.series.iter().enumerate() {
                for (edge, &count) in bars.edges.windows(2).zip(&s.counts) {
                    let [a, b] = [edge[0], edge[1]].map(|e| x.pixel(e.into()));
                    let part = (b - a) / bars.series.len() as f64;
                    let start = a + part * i as f64;
                    let height = [y.pixel(count.into()), bottom as f64];
                    canvas.fill(
                        [start, start + part - 1.0],
                        height,
                        SERIES[i % SERIES.len()],
                    );
                }
            }
            let names = bars.series.iter().enumerate();
            legend(
                &mut canvas,
                names.map(|(i, s)| (s.label.as_str(), SERIES[i % SERIES.len()])),
            );
        }
        Drawing::Patches(p) => {
            let side = (bottom - top) as f64 / p.height.max(1) as f64;
            let last = p.stages.len().saturating_sub(1);
            let veil = |stage: usize| {
                (stage < last).then(|| viridis(0.25 + 0.6 * stage as f64 / last as f64))
            };
            canvas.text(&view.title, left, 20, 2, INK);
            for (i, grey) in p.pixels.iter().enumerate() {
                let (row, column) = (i / p.width, i % p.width);
                let patch = row * p.rows / p.height * p.columns + column * p.columns / p.width;
                let veil = veil(p.values[patch] as usize);
                let colour = [0, 1, 2].map(|c| match veil {
                    None => *grey as u8,
                    Some(veil) => (0.18 * f64::from(*grey) + 0.82 * f64::from(veil[c])) as u8,
                });
                let at = |i: usize| [i as f64 * side, (i + 1) as f64 * side];
                let across = at(column).map(|x| x + left as f64);
                canvas.fill(across, at(row).map(|y| y + top as f64), colour);
            }
            let names = p.stages.iter().enumerate();
            legend(
                &mut canvas,
                names.map(|(i, s)| (s.as_str(), veil(i).unwrap_or(MISSING))),
            );
        }
        Drawing::Tokens(_) | Drawing::Table(_) => return None,
    }
    Some(canvas)
}
