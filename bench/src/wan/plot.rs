//! Bars for a README: catch-up and live latency by link and contender, each on a logarithmic axis.

use std::fmt::Write as _;

use super::contender::Contender;
use super::report::{Row, short};

const WIDTH: f64 = 960.0;
const PANEL: f64 = 250.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 56.0;
const COLOURS: [&str; 4] = ["#1f6feb", "#79b8ff", "#d29922", "#8b949e"];

/// The plot of a comparison's orders and live rows.
pub(crate) fn svg(rows: &[Row<'_>]) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        2.0 * (PANEL + TOP) + 60.0
    );
    for (index, contender) in Contender::ALL.into_iter().enumerate() {
        let x = LEFT + index as f64 * 215.0;
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"21\">{}</text>",
            COLOURS[index],
            x + 18.0,
            contender.name()
        );
    }
    let orders: Vec<_> = rows.iter().filter(|row| row.data == "orders").collect();
    let live: Vec<_> = rows.iter().filter(|row| row.data == "live").collect();
    let title = "Catch-up, JSON orders of 512 bytes: records/s (higher is better)";
    panel(&mut text, TOP, title, &orders, |row| {
        row.median(|it| it.records_per_second)
    });
    let title =
        "Live, 500 records/s: p99 from publish to the target's consumer, ms (lower is better)";
    panel(&mut text, 2.0 * TOP + PANEL + 30.0, title, &live, |row| {
        row.median(|it| it.latency.as_ref().map_or(0.0, |it| it.p99_ms))
    });
    text + "</svg>\n"
}

fn panel(
    text: &mut String,
    top: f64,
    title: &str,
    rows: &[&Row<'_>],
    figure: impl Fn(&Row<'_>) -> f64,
) {
    let mut links: Vec<&str> = Vec::new();
    for row in rows {
        if !links.contains(&row.link) {
            links.push(row.link);
        }
    }
    let values = rows
        .iter()
        .map(|row| figure(row))
        .filter(|value| *value > 0.0);
    let (least, most) = values.fold((f64::MAX, 1.0_f64), |(a, b), value| {
        (a.min(value), b.max(value))
    });
    if links.is_empty() || least > most {
        return;
    }
    let (first, last) = (
        least.log10().floor(),
        most.log10().ceil().max(least.log10().floor() + 1.0),
    );
    let y = |value: f64| top + PANEL - (value.log10() - first) / (last - first) * PANEL;
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>",
        top - 10.0
    );
    for power in first as i32..=last as i32 {
        let (value, at) = (10_f64.powi(power), y(10_f64.powi(power)));
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d0d7de\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 10.0,
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    let group = (WIDTH - LEFT - 10.0) / links.len() as f64;
    let bar = (group - 24.0).min(200.0) / 4.0;
    for (index, link) in links.iter().enumerate() {
        let left = LEFT + index as f64 * group + (group - bar * 4.0) / 2.0;
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{link}</text>",
            left + 2.0 * bar,
            top + PANEL + 18.0
        );
        for row in rows.iter().filter(|row| row.link == *link) {
            let value = figure(row);
            // Nothing arrived: a mark at the foot instead of a bar.
            let at = if value > 0.0 {
                y(value)
            } else {
                top + PANEL - 1.0
            };
            let Some(place) = Contender::ALL.iter().position(|it| *it == row.contender) else {
                continue; // a variant that only the tables show
            };
            draw_bar(text, (left, bar), place, (value, at), top + PANEL);
        }
    }
}

/// One contender's bar in a link's group, and its value above it.
fn draw_bar(
    text: &mut String,
    (left, width): (f64, f64),
    place: usize,
    (value, at): (f64, f64),
    foot: f64,
) {
    let x = left + place as f64 * width;
    let label = if value > 0.0 {
        short(value)
    } else {
        "none".to_owned()
    };
    let _ = writeln!(
        text,
        "<rect x=\"{x:.1}\" y=\"{at:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"8\" text-anchor=\"middle\">{label}</text>",
        width - 2.0,
        foot - at,
        COLOURS[place],
        x + width / 2.0 - 1.0,
        at - 3.0
    );
}
