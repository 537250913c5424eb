//! The comparison as JSON (every sample), Markdown (medians and ranges) and a plot.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use causeway::wan::LINKS;
use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::sample::Sample;
use super::{plot, tables};

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
    pub(crate) fn range(&self, figure: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let values = self.good.iter().map(|sample| figure(sample));
        values.fold((f64::MAX, f64::MIN), |(least, most), value| {
            (least.min(value), most.max(value))
        })
    }

    pub(crate) fn with_range(&self, figure: impl Fn(&Sample) -> f64 + Copy) -> String {
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
            text.push_str(&tables::catch_up_table(&backlog));
        }
        if !live.is_empty() {
            text.push_str(&tables::live_table(&live));
        }
        text.push_str(&tables::cost_table(&rows));
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
        let mut sample = super::super::sample::sample(None, contender, "orders", 0);
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
