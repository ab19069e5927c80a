//! A drill as a picture: how long each acknowledgement took, over time, with the faults marked and the verdict below.
//!
//! A pure function from a [`Timeline`] to SVG text. Mid-tones on no background, so that it reads on white and on black.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::Report;

/// What a mark tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// Something was broken.
    Hit,
    /// Something was mended.
    Heal,
}

/// Something that was done at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When, from the start of the writer.
    pub at: Duration,
    /// Broken or mended.
    pub kind: MarkKind,
    /// What was done.
    pub label: String,
}

/// One acknowledged request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When it was first tried, from the start of the writer.
    pub at: Duration,
    /// How long until it was answered `ok`.
    pub took: Duration,
}

/// All that the picture shows beside the report.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// In the order of time.
    pub points: Vec<Point>,
    /// In the order of time.
    pub marks: Vec<Mark>,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 16.0;
const PLOT_HEIGHT: f64 = 280.0;
const TITLE_HEIGHT: f64 = 40.0;
const LANE_HEIGHT: f64 = 16.0;
/// The room below the plot for the time axis and its name.
const AXIS_HEIGHT: f64 = 52.0;
const CELLS_PER_ROW: usize = 6;
const CELL_HEIGHT: f64 = 38.0;
/// A character of the 12-pixel labels, at most: fonts differ, and labels must not touch.
const CHARACTER: f64 = 6.6;
/// What a cell holds of a verdict field; a longer value takes more cells.
const VALUE_CHARACTERS_MAX: usize = 17;
/// So many marks can be told apart by their labels.
const MARKS_LABELLED_MAX: usize = 60;
/// About so many steps on the time axis.
const TIME_STEPS: f64 = 8.0;

const GREY: &str = "#808080";
const BLUE: &str = "#3d85c6";
const RED: &str = "#d9534f";
const GREEN: &str = "#3a9d5d";

/// Where things are drawn.
struct Frame {
    top: f64,
    seconds: f64,
    /// Powers of ten of milliseconds.
    low: i32,
    high: i32,
}

impl Frame {
    fn x(&self, at: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * (at.as_secs_f64() / self.seconds).min(1.0)
    }

    fn y(&self, milliseconds: f64) -> f64 {
        let decades = f64::from(self.high - self.low);
        let part = (milliseconds.log10() - f64::from(self.low)) / decades;
        self.bottom() - PLOT_HEIGHT * part.clamp(0.0, 1.0)
    }

    fn bottom(&self) -> f64 {
        self.top + PLOT_HEIGHT
    }
}

/// Draws it.
pub fn svg(report: &Report, timeline: &Timeline) -> String {
    let seconds = span_seconds(timeline);
    let (low, high) = decades(&timeline.points);
    let mut frame = Frame { top: 0.0, seconds, low, high };
    let marks = told(&timeline.marks);
    let labels = lanes(&marks, |at| frame.x(at));
    let lane_count = labels.iter().map(|label| label.lane + 1).max().unwrap_or(0);
    frame.top = TITLE_HEIGHT + LANE_HEIGHT * lane_count as f64 + 8.0;
    let fields = report.fields();
    let rows = cells(&fields).last().map_or(0, |cell| cell / CELLS_PER_ROW + 1);
    let height = frame.bottom() + AXIS_HEIGHT + CELL_HEIGHT * rows as f64 + 8.0;

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n"
    );
    title(&mut out, report);
    axes(&mut out, &frame);
    for (mark, label) in marks.iter().zip(&labels) {
        draw_mark(&mut out, &frame, mark, label);
    }
    points(&mut out, &frame, &timeline.points);
    table(&mut out, frame.bottom() + AXIS_HEIGHT, &fields);
    out.push_str("</svg>\n");
    out
}

fn title(out: &mut String, report: &Report) {
    let (word, colour) = if report.passes() { ("pass", GREEN) } else { ("fail", RED) };
    let name = escaped(&report.name);
    line(
        out,
        format_args!(
            "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\"><tspan font-weight=\"bold\">{name}</tspan> \
         <tspan fill=\"{colour}\" font-weight=\"bold\">{word}</tspan></text>"
        ),
    );
    line(
        out,
        format_args!(
            "<text x=\"{RIGHT}\" y=\"24\" text-anchor=\"end\">each dot or bar: one message, from its first try to its ok</text>"
        ),
    );
}

fn axes(out: &mut String, frame: &Frame) {
    for decade in frame.low..=frame.high {
        let y = frame.y(10_f64.powi(decade));
        line(
            out,
            format_args!(
                "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{GREY}\" stroke-opacity=\".3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                decade_name(decade)
            ),
        );
    }
    let step = nice_step(frame.seconds / TIME_STEPS);
    let decimals = usize::from(step < 1.0) + usize::from(step < 0.1);
    let bottom = frame.bottom();
    for n in 0..=(frame.seconds / step) as u32 {
        let second = f64::from(n) * step;
        let x = frame.x(Duration::from_secs_f64(second));
        line(
            out,
            format_args!(
                "<path d=\"M{x:.1} {bottom:.1}v4\" stroke=\"{GREY}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second:.decimals$} s</text>",
                bottom + 18.0
            ),
        );
    }
}

/// Strong through the plot, faint through the lanes, where it may run across other labels.
fn draw_mark(out: &mut String, frame: &Frame, mark: &Mark, label: &Label) {
    let (colour, dash) = match mark.kind {
        MarkKind::Hit => (RED, ""),
        MarkKind::Heal => (GREEN, " stroke-dasharray=\"4 3\""),
    };
    let x = frame.x(mark.at);
    let y = TITLE_HEIGHT + LANE_HEIGHT * (label.lane as f64 + 0.75);
    let (text_x, anchor) = if label.leftwards { (x - 4.0, "end") } else { (x + 4.0, "start") };
    line(
        out,
        format_args!(
            "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"{colour}\" stroke-opacity=\".35\"/>\
             <path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"{colour}\"{dash}/>\
             <text x=\"{text_x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" text-anchor=\"{anchor}\">{}</text>",
            y - 9.0,
            frame.top,
            frame.top,
            frame.bottom(),
            escaped(&mark.label)
        ),
    );
}

/// All requests as one path, each from its first try to its ok: a dot where that is short, else a bar.
fn points(out: &mut String, frame: &Frame, points: &[Point]) {
    let mut path = String::new();
    for point in points {
        let (from, to) = (frame.x(point.at), frame.x(point.at + point.took));
        let _ = write!(path, "M{from:.1} {:.1}H{to:.1}", frame.y(milliseconds(point.took)));
    }
    line(
        out,
        format_args!(
            "<path d=\"{path}\" stroke=\"{BLUE}\" stroke-opacity=\".7\" stroke-width=\"3\" stroke-linecap=\"round\"/>"
        ),
    );
}

fn table(out: &mut String, top: f64, fields: &[(String, String)]) {
    let width = (RIGHT - LEFT) / CELLS_PER_ROW as f64;
    for ((name, value), cell) in fields.iter().zip(cells(fields)) {
        let x = LEFT + width * (cell % CELLS_PER_ROW) as f64;
        let y = top + CELL_HEIGHT * (cell / CELLS_PER_ROW) as f64 + 8.0;
        let short: String = match value.char_indices().nth(VALUE_CHARACTERS_MAX * CELLS_PER_ROW) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value.clone(),
        };
        line(
            out,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\">{}</text>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
                escaped(name),
                y + 15.0,
                escaped(&short)
            ),
        );
    }
}

/// Where each field's first cell is, row by row; none goes over the end of its row.
fn cells(fields: &[(String, String)]) -> Vec<usize> {
    let mut next = 0;
    let place = |(_, value): &(String, String)| {
        let span = value.chars().count().div_ceil(VALUE_CHARACTERS_MAX).clamp(1, CELLS_PER_ROW);
        if next % CELLS_PER_ROW + span > CELLS_PER_ROW {
            next = next.next_multiple_of(CELLS_PER_ROW);
        }
        next += span;
        next - span
    };
    fields.iter().map(place).collect()
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

struct Label {
    lane: usize,
    /// It stands left of its mark, which is too near to the right edge.
    leftwards: bool,
}

/// The marks as they are drawn: of a crowd only what was broken, without labels, which would bury the plot.
fn told(marks: &[Mark]) -> Vec<Mark> {
    if marks.len() <= MARKS_LABELLED_MAX {
        return marks.to_vec();
    }
    let hits = marks.iter().filter(|mark| mark.kind == MarkKind::Hit);
    hits.map(|mark| Mark { label: String::new(), ..*mark }).collect()
}

/// Gives each label the first lane in which it touches no earlier one.
fn lanes(marks: &[Mark], x: impl Fn(Duration) -> f64) -> Vec<Label> {
    let mut ends: Vec<f64> = Vec::new();
    let place = |mark: &Mark| {
        if mark.label.is_empty() {
            return Label { lane: 0, leftwards: false };
        }
        let (at, width) = (x(mark.at), CHARACTER * mark.label.chars().count() as f64 + 8.0);
        let leftwards = at + width > RIGHT;
        let (from, to) = if leftwards { (at - width, at) } else { (at, at + width) };
        let free = ends.iter().position(|&end| end <= from);
        let lane = free.unwrap_or(ends.len());
        if free.is_none() {
            ends.push(to);
        }
        ends[lane] = to;
        Label { lane, leftwards }
    };
    marks.iter().map(place).collect()
}

fn span_seconds(timeline: &Timeline) -> f64 {
    let last_point = timeline.points.iter().map(|point| point.at + point.took).max();
    let last_mark = timeline.marks.iter().map(|mark| mark.at).max();
    last_point.max(last_mark).unwrap_or_default().as_secs_f64().max(0.001)
}

/// The powers of ten of milliseconds that hold all points, at least one decade.
fn decades(points: &[Point]) -> (i32, i32) {
    let took = || points.iter().map(|point| milliseconds(point.took));
    let low = took().fold(f64::INFINITY, f64::min).log10().floor();
    let high = took().fold(0.0, f64::max).log10().ceil();
    if !low.is_finite() || !high.is_finite() {
        return (0, 1);
    }
    (low as i32, (high as i32).max(low as i32 + 1))
}

/// Never zero, which has no logarithm.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).max(0.01)
}

fn decade_name(decade: i32) -> String {
    match decade {
        0..=2 => format!("{} ms", 10_i32.pow(decade.unsigned_abs())),
        3.. => format!("{} s", 10_i64.pow(decade.unsigned_abs().min(9) - 3)),
        _ => format!("{} ms", 10_f64.powi(decade)),
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|&step| step >= least).unwrap_or(least)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::judge::Verdict;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn mark(ms: u64, label: &str) -> Mark {
        Mark { at: at(ms), kind: MarkKind::Hit, label: label.to_owned() }
    }

    fn example() -> (Report, Timeline) {
        let report = Report {
            name: "kill_leader".to_owned(),
            verdict: Verdict { sent: 2, acked: 2, ..Verdict::default() },
            gaps: vec![Some(at(40))],
            ..Report::default()
        };
        let points = vec![Point { at: at(0), took: at(1) }, Point { at: at(500), took: at(100) }];
        let marks = vec![mark(500, "kill -9 <1>")];
        (report, Timeline { points, marks })
    }

    #[test]
    fn shows_every_request_every_fault_and_every_field() {
        let (report, timeline) = example();
        let text = svg(&report, &timeline);
        // One decade apart in the middle of two: a dot at the bottom left, and a bar at the top over the last sixth.
        assert!(text.contains("M64.0 344.0H65.5M797.3 64.0H944.0"), "{text}");
        assert!(text.contains("kill -9 &lt;1&gt;"), "{text}");
        for expected in [">pass<", ">gap_ms<", ">40<", ">10 ms<", ">100 ms<", ">0.5 s<"] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn a_drill_without_any_acknowledgement_is_drawn_too() {
        let text = svg(&Report::default(), &Timeline::default());
        assert!(text.contains(">fail<") && !text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn a_crowd_of_marks_is_drawn_without_labels() {
        let few: Vec<Mark> = (0..MARKS_LABELLED_MAX as u64).map(|n| mark(n, "kill")).collect();
        assert_eq!(told(&few), few);
        let healed = Mark { kind: MarkKind::Heal, ..mark(99, "start") };
        let many: Vec<Mark> = few.iter().cloned().chain([healed]).collect();
        let drawn = told(&many);
        assert_eq!(drawn.len(), few.len());
        assert!(lanes(&drawn, |_| 0.0).iter().all(|label| label.lane == 0));
    }

    #[test]
    fn labels_that_would_touch_stand_in_lanes_and_the_last_ones_turn_left() {
        let marks = [mark(0, "first"), mark(10, "second"), mark(500, "third"), mark(999, "last")];
        let labels = lanes(&marks, |at| LEFT + (RIGHT - LEFT) * at.as_secs_f64());
        let lane_of: Vec<usize> = labels.iter().map(|label| label.lane).collect();
        assert_eq!(lane_of, [0, 1, 0, 0]);
        assert_eq!(labels.iter().filter(|label| label.leftwards).count(), 1);
    }

    #[test]
    fn a_long_value_takes_the_cells_it_needs_in_one_row() {
        let lengths = [1, 20, 1, 1, 20, 1];
        let fields: Vec<(String, String)> = lengths.iter().map(|&n| (String::new(), "x".repeat(n))).collect();
        assert_eq!(cells(&fields), [0, 1, 3, 4, 6, 8]);
    }

    #[test]
    fn steps_are_round() {
        for (least, step) in [(0.9, 1.0), (1.1, 2.0), (3.0, 5.0), (0.031, 0.05), (7.0, 10.0)] {
            assert!((nice_step(least) - step).abs() < 1e-9, "{least}");
        }
    }
}
