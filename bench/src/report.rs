//! Timed rounds, and how their medians are shown.

use std::time::{Duration, Instant};

use crate::Options;

const ROUNDS: usize = 7;

/// What one measurement found.
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) records: usize,
    pub(crate) batches: usize,
    /// Bytes of subjects, headers and payloads.
    pub(crate) size: usize,
    /// Bytes on the wire, where something was put on it.
    pub(crate) wire_len: Option<usize>,
    /// Median of each step.
    pub(crate) steps: Vec<(&'static str, Duration)>,
}

/// The median duration of a step, over as many rounds as asked for after one to warm up.
pub(crate) fn median(options: &Options, mut round: impl FnMut() -> Duration) -> Duration {
    round();
    let mut times: Vec<_> = (0..options.rounds.unwrap_or(ROUNDS).max(1))
        .map(|_| round())
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// How long `step` takes, and what it gives.
pub(crate) fn timed<T>(step: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = std::hint::black_box(step());
    (start.elapsed(), result)
}

impl Report {
    fn rate(&self, time: Duration) -> f64 {
        self.records as f64 / time.as_secs_f64()
    }

    fn ns_per_record(&self, time: Duration) -> f64 {
        time.as_nanos() as f64 / self.records as f64
    }

    fn mb_per_s(&self, time: Duration) -> f64 {
        self.size as f64 / 1e6 / time.as_secs_f64()
    }

    pub(crate) fn to_table(&self) -> String {
        let mean = self.size / self.records.max(1);
        let mut text = format!(
            "{}: {} records of {mean} bytes in {} batches\n{:<10} {:>12} {:>10} {:>10} {:>14}\n",
            self.name,
            self.records,
            self.batches,
            "step",
            "records/s",
            "ns/record",
            "MB/s",
            "core at 100k/s",
        );
        for &(step, time) in &self.steps {
            let (rate, ns, mb) = (
                self.rate(time),
                self.ns_per_record(time),
                self.mb_per_s(time),
            );
            let share = ns / 100.0;
            text += &format!("{step:<10} {rate:>12.0} {ns:>10.0} {mb:>10.0} {share:>13.2} %\n");
        }
        if let Some(wire_len) = self.wire_len {
            let ratio = self.size as f64 / wire_len as f64;
            text += &format!("on the wire {wire_len} bytes, ratio {ratio:.2}\n");
        }
        text
    }

    pub(crate) fn to_json(&self) -> String {
        let steps = self.steps.iter().map(|&(step, time)| {
            let value = serde_json::json!({
                "records_per_second": self.rate(time).round(),
                "ns_per_record": self.ns_per_record(time).round(),
                "mb_per_second": self.mb_per_s(time).round(),
            });
            (step.to_owned(), value)
        });
        let report = serde_json::json!({
            "name": self.name,
            "records": self.records,
            "batches": self.batches,
            "payload_bytes": self.size,
            "wire_bytes": self.wire_len,
            "steps": steps.collect::<serde_json::Map<_, _>>(),
        });
        format!("{report}\n")
    }
}
