//! The tables of a comparison.

use std::fmt::Write as _;

use super::contender::Contender;
use super::data::Kind;
use super::report::{Row, short};
use super::sample::Sample;
use super::{goals, prediction};

pub(super) fn catch_up_table(rows: &[&Row<'_>]) -> String {
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
        // Of nothing nobody is a multiple.
        let bbr = bbr.map(|bbr| bbr.median(|it| it.records_per_second));
        let times = bbr
            .filter(|bbr| *bbr > 0.0)
            .map(|bbr| row.median(|it| it.records_per_second) / bbr);
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
            row.good[0].bound_by,
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
    let certain = |it: &Sample| it.wire.burst_certain_bytes.into_iter().fold(0.0, f64::max);
    let most = |it: &Sample| it.wire.burst_bytes.into_iter().fold(0.0, f64::max);
    let packets = |bytes: f64| bytes / 1_500.0;
    let (certain, most) = (row.range(certain).1, row.range(most).1);
    format!("{:.1} to {:.1}", packets(certain), packets(most))
}

/// Of what the link could carry, where what is carried is the payload itself.
fn goodput(row: &Row<'_>) -> String {
    if row.data != Kind::Random.name() {
        return "-".to_owned();
    }
    format!("{:.0} %", row.median(|it| it.wire.goodput_share) * 100.0)
}

pub(super) fn live_table(rows: &[&Row<'_>]) -> String {
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

pub(super) fn cost_table(rows: &[Row<'_>]) -> String {
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
