//! Row by row of the contract's table through a whole pair of sidecars: from a source that stores what
//! publishers send (a server of the oldest release, which knows few of these headers) into a target of
//! the reference release.

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream;
use causeway::demo::provision::OLDEST_VERSION;
use causeway_proto::headers::TABLE;
use causeway_tests::raw_nats::RawNats;
use causeway_tests::regions::{SOURCE, Setup, TARGET, TwoRegions};

use crate::world::{around, block, seq_of};

/// Each row with lines that the source stores, and what is left of them at an ordinary target. `LAST`
/// stands for the sequence of the record before.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str)] = &[
    ("Causeway", "Causeway: 1 us/S/1/1 r=x h=us x=0000000000000000", ""),
    ("Nats-Msg-Id", "Nats-Msg-Id: mine", ""),
    ("Nats-Expected-", "Nats-Expected-Last-Msg-Id: mine", ""),
    ("Nats-Expected-", "Nats-Expected-Stream: ORDERS", ""),
    ("Nats-Expected-", "Nats-Expected-Last-Sequence: LAST", ""),
    ("Nats-Expected-", "Nats-Expected-Last-Subject-Sequence: LAST", ""),
    ("Nats-Batch-", "Nats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\nNats-Batch-Commit: 1", ""),
    ("Nats-TTL", "Nats-TTL: 60", ""),
    ("Nats-TTL", "Nats-TTL: junk", ""),
    ("Nats-Stream-Source", "Nats-Stream-Source: S 1 > > a.b x", "Causeway-Nats-Stream-Source: S 1 > > a.b x\r\n"),
    ("Nats-Incr", "Nats-Incr: 5", ""),
    ("Nats-Schedule", "Nats-Schedule: @every 1h", "Causeway-Nats-Schedule: @every 1h\r\n"),
    ("Nats-Schedule-", "Nats-Schedule-Target: a.b", "Causeway-Nats-Schedule-Target: a.b\r\n"),
    ("Nats-Scheduler", "Nats-Scheduler: a.b", "Causeway-Nats-Scheduler: a.b\r\n"),
    ("Nats-Trace-Dest", "Nats-Trace-Dest: a.b", ""),
    ("Nats-Trace-Dest", "Nats-Trace-Dest: trace disabled", "Nats-Trace-Dest: trace disabled\r\n"),
    ("Nats-Trace-", "Nats-Trace-Dest: a.b\r\nNats-Trace-Only: true", ""),
    ("Nats-Required-Api-Level", "Nats-Required-Api-Level: 999", ""),
    ("Nats-Request-Info", "Nats-Request-Info: {}", ""),
    ("", "nats-ttl: 5\r\nA: 1\r\nA: 2\r\na:3", "nats-ttl: 5\r\nA: 1\r\nA: 2\r\na:3\r\n"),
    ("", "no colon\r\nKV-Operation: DEL", "no colon\r\nKV-Operation: DEL\r\n"),
    // Last, and on a subject of its own, for it purges its subject at the source.
    ("Nats-Rollup", "Nats-Rollup: sub", ""),
];

/// The rows that a target with time to live and rollups obeys, and so is given.
#[rustfmt::skip]
const ABLE_ROWS: &[(&str, &str, &str)] = &[
    ("Nats-TTL", "Nats-TTL: never", "Nats-TTL: never\r\n"),
    ("Nats-TTL", "Nats-TTL: junk", ""),
    ("Nats-Rollup", "Nats-Rollup: sub", "Nats-Rollup: sub\r\n"),
];

#[tokio::test]
async fn every_row_through_a_pair_of_sidecars() -> Result<()> {
    let missing: Vec<_> = TABLE
        .iter()
        .filter(|row| ROWS.iter().all(|(name, ..)| *name != row.name))
        .collect();
    ensure!(missing.is_empty(), "rows without a test: {missing:?}");
    travel(ROWS, None).await
}

#[tokio::test]
async fn what_an_able_target_obeys_is_given_to_it() -> Result<()> {
    let able = stream::Config {
        name: TARGET.into(),
        subjects: vec!["orders.>".into(), "pii.>".into()],
        allow_message_ttl: true,
        allow_rollup: true,
        ..Default::default()
    };
    travel(ABLE_ROWS, Some(able)).await
}

async fn travel(rows: &[(&str, &str, &str)], target: Option<stream::Config>) -> Result<()> {
    // A target without fast ingest has the fence stored with each record.
    let fence = target.is_some();
    let regions = TwoRegions::start(Setup {
        source_version: Some(OLDEST_VERSION),
        source_rolls_up: true,
        target,
        ..Setup::default()
    })
    .await?;
    let mut us = RawNats::connect(&format!("127.0.0.1:{}", regions.us.port()))?;
    for (at, (name, lines, _)) in rows.iter().enumerate() {
        let lines = lines.replace("LAST", &at.to_string());
        let answer = us.publish_acked(subject_of(name), &block(&lines), &payload_of(at))?;
        ensure!(
            seq_of(&answer).context(lines)? == at as u64 + 1,
            "{answer:?}"
        );
        if at == 0 {
            // The target is there; some clients cannot read what comes next, so ours does.
            regions.await_target(1).await?;
        }
    }
    let mut eu = RawNats::connect(&format!("127.0.0.1:{}", regions.eu.port()))?;
    eu.consume(TARGET, rows.len() as u64)
        .with_context(|| regions.logs())?;
    for (at, (name, lines, kept)) in rows.iter().enumerate() {
        let record = eu.stored(TARGET, at as u64 + 1)?;
        ensure!(record.subject == subject_of(name), "{record:?}");
        ensure!(record.payload == payload_of(at), "{record:?}");
        let text = String::from_utf8(record.headers)?;
        let theirs = behind_ours(&text, at as u64 + 1, fence)?;
        ensure!(theirs == around(kept), "{lines:?} became {text:?}");
    }
    Ok(())
}

fn subject_of(name: &str) -> &'static str {
    match name {
        "Nats-Rollup" => "orders.rolled-up",
        _ => "orders.k",
    }
}

fn payload_of(at: usize) -> Vec<u8> {
    format!("{{\"n\":{at}}}").into_bytes()
}

/// What follows the lines that a route adds, which are checked.
fn behind_ours(text: &str, seq: u64, fence: bool) -> Result<&str> {
    let mut rest = text.strip_prefix("NATS/1.0\r\n").context("a version")?;
    let origin = format!("us/{SOURCE}/{seq}/");
    let mut ours = vec![
        format!("Causeway: 1 {origin}"),
        format!("Nats-Msg-Id: {origin}"),
    ];
    if fence {
        ours.push("Nats-Expected-Last-Sequence: ".to_owned());
    }
    for wanted in ours {
        let (line, behind) = rest.split_once("\r\n").context("a line")?;
        ensure!(line.starts_with(&wanted), "{wanted:?} in {text:?}");
        rest = behind;
    }
    Ok(rest)
}
