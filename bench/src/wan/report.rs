//! The comparison as JSON (every sample), Markdown (medians and ranges) and a plot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use causeway::wan::LINKS;
use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::data::Kind;
use super::trial::{self, Sample};
use super::{goals, plot, prediction};

/// All samples of a run, and what is read from them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Comparison {
    samples: Vec<Sample>,
}

/// The samples of one contender with one kind of data on one link.
pub(crate) struct Row<'a> {
    pub link: &'a str,
    pub data: &'a str,
    pub contender: Contender,
    /// Those that did not fail.
    pub good: Vec<&'a Sample>,
    pub failed: Vec<&'a str>,
}

impl Row<'_> {
    /// The median of a figure.
    pub(crate) fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.good.iter().map(|sample| figure(sample)).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => 0.0,
            len if len % 2 == 1 => values[len / 2],
            len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
        }
    }

    /// Whether the machine, not the link, held it back in most trials.
    pub(crate) fn is_bound_by_cpu(&self) -> bool {
        let bound = self.good.iter().filter(|it| it.bound_by == "CPU").count();
        bound * 2 > self.good.len()
    }

    /// Least and greatest.
    fn range(&self, figure: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let values = self.good.iter().map(|sample| figure(sample));
        values.fold((f64::MAX, f64::MIN), |(least, most), value| {
            (least.min(value), most.max(value))
        })
    }

    fn with_range(&self, figure: impl Fn(&Sample) -> f64 + Copy) -> String {
        let (least, most) = self.range(figure);
        if self.good.len() < 2 {
            return short(self.median(figure));
        }
        format!(
            "{} ({} to {})",
            short(self.median(figure)),
            short(least),
            short(most)
        )
    }
}

impl Comparison {
    /// The samples of an earlier run.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no comparison", file.display()))
    }

    /// Takes a sample in and writes all forms anew: a run that is interrupted leaves what it has found.
    pub(crate) fn add(&mut self, sample: Sample, directory: &Path) -> Result<()> {
        self.samples.push(sample);
        self.write(directory)
    }

    /// Rows by link, kind of data and contender; kinds in the order in which they were first measured.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for sample in &self.samples {
            let key = (sample.link.as_str(), sample.data.as_str(), sample.contender);
            let found = rows
                .iter()
                .position(|it| (it.link, it.data, it.contender) == key);
            let index = found.unwrap_or_else(|| {
                rows.push(Row {
                    link: &sample.link,
                    data: &sample.data,
                    contender: sample.contender,
                    good: Vec::new(),
                    failed: Vec::new(),
                });
                rows.len() - 1
            });
            match &sample.failed {
                Some(why) => rows[index].failed.push(why),
                None => rows[index].good.push(sample),
            }
        }
        let mut kinds: Vec<&str> = Vec::new();
        for row in &rows {
            if !kinds.contains(&row.data) {
                kinds.push(row.data);
            }
        }
        let link = |row: &Row<'_>| LINKS.iter().position(|link| link.name == row.link);
        let kind = |row: &Row<'_>| kinds.iter().position(|kind| *kind == row.data);
        rows.sort_by_key(|row| (link(row), kind(row), row.contender));
        rows
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(crate) fn to_markdown(&self) -> String {
        let rows = self.rows();
        let (live, backlog): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.data == "live");
        let mut text = String::new();
        if !backlog.is_empty() {
            text.push_str(&catch_up_table(&backlog));
        }
        if !live.is_empty() {
            text.push_str(&live_table(&live));
        }
        text.push_str(&cost_table(&rows));
        text
    }

    fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("comparison.json"), self.to_json()?)?;
        fs::write(directory.join("comparison.md"), self.to_markdown())?;
        fs::write(directory.join("comparison.svg"), plot::svg(&self.rows()))?;
        Ok(())
    }
}

fn catch_up_table(rows: &[&Row<'_>]) -> String {
    let mut text = String::from(
        "| Link | data | | records/s: median (range) | payload MB/s | of BBR's | wire Mbit/s | ratio | link used | goodput | queue, mean ms | dropped in queue | burst, MTU | longest pause, ms | bound by | of ceiling | goal | holds |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let head = format!("| {} | {} | {} ", row.link, row.data, row.contender.name());
        if row.good.is_empty() {
            let _ = writeln!(
                text,
                "{head}| {} | | | | | | | | | | | | | | |",
                row.failed.join("; ")
            );
            continue;
        }
        let bbr = rows.iter().find(|it| {
            (it.link, it.data, it.contender) == (row.link, row.data, Contender::MirrorBbr)
                && !it.good.is_empty()
        });
        let times = bbr.map(|bbr| {
            row.median(|it| it.records_per_second)
                / bbr.median(|it| it.records_per_second).max(1e-9)
        });
        let ceiling = goals::share_of_ceiling(row, rows).filter(|_| row.is_bound_by_cpu());
        let [goal, holds] = goals::cells(row, rows);
        let _ = writeln!(
            text,
            "{head}| {}{} | {} | {} | {} | {} | {:.0} % | {} | {:.1} | {:.0} | {} | {:.0} | {} | {} | {goal} | {holds} |",
            row.with_range(|it| it.records_per_second),
            failures(row),
            short(row.median(|it| it.payload_mb_per_second)),
            times.map_or_else(|| "-".to_owned(), |times| format!("x {times:.2}")),
            short(row.median(|it| it.wire.forward_bytes as f64 * 8e-6 / it.seconds)),
            short(row.median(|it| it.wire.ratio)),
            row.median(|it| it.wire.used_share) * 100.0,
            goodput(row),
            row.median(|it| it.wire.queue_mean_ms),
            row.median(|it| it.wire.overflowed_packets as f64),
            burst(row),
            row.range(|it| it.pause_max_seconds * 1e3).1,
            trial::bound_by(row.good[0]),
            ceiling.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        );
    }
    text + "\n" + &prediction::table(rows)
}

/// The greatest excess over the declared rate, or else the link's, in packets of 1,500 bytes.
fn burst(row: &Row<'_>) -> String {
    if row.contender.is_mirror() || row.link == "loopback" {
        return "-".to_owned();
    }
    let most = |it: &Sample| it.wire.burst_bytes[0].max(it.wire.burst_bytes[1]);
    format!("{:.1}", row.range(most).1 / 1_500.0)
}

/// Of what the link could carry, where what is carried is the payload itself.
fn goodput(row: &Row<'_>) -> String {
    if row.data != Kind::Random.name() {
        return "-".to_owned();
    }
    format!("{:.0} %", row.median(|it| it.wire.goodput_share) * 100.0)
}

fn live_table(rows: &[&Row<'_>]) -> String {
    let mut text = String::from(
        "| Link | live, 500 records/s | records | missing | p50 ms | p90 | p99: median (range) | p99.9 | max | wire kbit/s |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let head = format!("| {} | {} ", row.link, row.contender.name());
        if row.good.is_empty() {
            let _ = writeln!(text, "{head}| {} | | | | | | | |", row.failed.join("; "));
            continue;
        }
        let of = |figure: fn(&super::live::Latency) -> f64| {
            move |sample: &Sample| sample.latency.as_ref().map_or(0.0, figure)
        };
        let p999 = row
            .good
            .iter()
            .all(|it| it.latency.as_ref().is_some_and(|it| it.p999_ms.is_some()));
        let p999 = p999.then(|| row.median(of(|it| it.p999_ms.unwrap_or_default())));
        let _ = writeln!(
            text,
            "{head}| {:.0} | {:.0}{} | {:.1} | {:.1} | {} | {} | {} | {:.0} |",
            row.median(of(|it| it.records as f64)),
            row.median(of(|it| it.missing as f64)),
            failures(row),
            row.median(of(|it| it.p50_ms)),
            row.median(of(|it| it.p90_ms)),
            row.with_range(of(|it| it.p99_ms)),
            p999.map_or_else(|| "-".to_owned(), short),
            short(row.range(of(|it| it.max_ms)).1),
            row.median(
                |it| (it.wire.forward_bytes + it.wire.back_bytes) as f64 * 8e-3 / it.seconds
            ),
        );
    }
    text + "\n"
}

fn cost_table(rows: &[Row<'_>]) -> String {
    let mut text = String::from(
        "| Link | data | | CPU us a record: us server, us sidecar, eu sidecar, eu server | peak MiB, the same | emulator, of a core | busiest thread | idle |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows.iter().filter(|row| !row.good.is_empty()) {
        let list = |figure: fn(&super::usage::ProcessUse, &Sample) -> f64| {
            let of = |name: &str| {
                let has = row.good[0].processes.iter().any(|it| it.name == name);
                let median = row.median(|sample| {
                    let process = sample.processes.iter().find(|it| it.name == name);
                    process.map_or(0.0, |process| figure(process, sample))
                });
                if has { short(median) } else { "-".to_owned() }
            };
            ["us server", "us sidecar", "eu sidecar", "eu server"]
                .map(of)
                .join(", ")
        };
        let hottest = row.good[0]
            .processes
            .iter()
            .max_by(|a, b| a.hottest_share.total_cmp(&b.hottest_share));
        let hottest = hottest.map_or_else(String::new, |it| {
            format!(
                "{} `{}` {:.0} %",
                it.name,
                it.hottest_thread,
                it.hottest_share * 100.0
            )
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} % | {hottest} | {:.0} % |",
            row.link,
            row.data,
            row.contender.name(),
            list(|process, sample| process.cpu_seconds * 1e6 / (sample.records as f64).max(1.0)),
            list(|process, _| process.peak_mib),
            row.median(|it| it.emulator_cpu_seconds / it.seconds) * 100.0,
            row.median(|it| it.machine_idle_share) * 100.0,
        );
    }
    text
}

fn failures(row: &Row<'_>) -> String {
    match row.failed.len() {
        0 => String::new(),
        count => format!(", {count} failed: {}", row.failed[0]),
    }
}

/// A figure with three digits that count, and thousands set apart.
pub(crate) fn short(value: f64) -> String {
    if value >= 1_000.0 {
        let digits = format!("{value:.0}");
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        return text;
    }
    let decimals = usize::from(value < 100.0) + usize::from(value < 10.0);
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(contender: Contender, records_per_second: f64) -> Sample {
        let mut sample = trial::sample(None, contender, "orders", 0);
        sample.records_per_second = records_per_second;
        sample.seconds = 1.0;
        sample
    }

    #[test]
    fn figures_are_short() {
        let cases = [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_row_has_the_median_and_the_range_and_is_held_against_bbr() {
        let mut failed = measured(Contender::MirrorBbr, 0.0);
        failed.failed = Some("no link".to_owned());
        let comparison = Comparison {
            samples: vec![
                measured(Contender::CausewayDeclared, 400.0),
                measured(Contender::MirrorBbr, 100.0),
                measured(Contender::CausewayDeclared, 200.0),
                measured(Contender::CausewayDeclared, 300.0),
                failed,
            ],
        };
        let text = comparison.to_markdown();
        assert!(
            text.contains(
                "| loopback | orders | Causeway, rate declared | 300 (200 to 400) | 0.00 | x 3.00 |"
            ),
            "{text}"
        );
        assert!(text.contains("100, 1 failed: no link"), "{text}");
    }
}
