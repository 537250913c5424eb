//! Every row of the contract's table, and what only looks like one.

use anyhow::{Context as _, Result};
use causeway_proto::headers::{TABLE, Treatment};
use causeway_tests::raw_nats::Stored;

use crate::world::{PAYLOAD, around, block, code_of, on_both, seq_of};

/// A record as if read from some stream, for what no server would store any more.
fn record(lines: &str, payload: &[u8]) -> Stored {
    Stored {
        subject: "SRC.k".to_owned(),
        headers: block(lines),
        payload: payload.to_vec(),
        time: String::new(),
    }
}

/// Each row with a line, and what an ordinary target of the reference and of the oldest release says
/// to it verbatim: the error's code, or `None` where it takes it.
#[rustfmt::skip]
const VERBATIM: &[(&str, &str, Option<u64>, Option<u64>)] = &[
    ("Causeway", "Causeway: 1 us/S/1/1 r=x h=us x=0000000000000000", None, None),
    ("Nats-Msg-Id", "Nats-Msg-Id: a", None, None),
    ("Nats-Expected-", "Nats-Expected-Stream: SRC", Some(10060), Some(10060)),
    ("Nats-Expected-", "Nats-Expected-Last-Sequence: 999", Some(10071), Some(10071)),
    ("Nats-Expected-", "Nats-Expected-Last-Subject-Sequence: 999", Some(10071), Some(10071)),
    ("Nats-Expected-", "Nats-Expected-Last-Subject-Sequence-Subject: a", Some(10193), None),
    ("Nats-Expected-", "Nats-Expected-Last-Msg-Id: b", Some(10070), Some(10070)),
    ("Nats-Batch-", "Nats-Batch-Id: b\r\nNats-Batch-Sequence: 1", Some(10174), None),
    ("Nats-Batch-", "Nats-Batch-Commit: 1", None, None),
    ("Nats-TTL", "Nats-TTL: 60", Some(10166), None),
    ("Nats-TTL", "Nats-TTL: never", Some(10166), None),
    ("Nats-TTL", "Nats-TTL: junk", Some(10165), None),
    ("Nats-Rollup", "Nats-Rollup: sub", Some(10111), Some(10111)),
    ("Nats-Rollup", "Nats-Rollup: all", Some(10111), Some(10111)),
    ("Nats-Rollup", "Nats-Rollup: junk", Some(10111), Some(10111)),
    ("Nats-Stream-Source", "Nats-Stream-Source: S 1 > > a.b x", Some(10227), None),
    ("Nats-Incr", "Nats-Incr: 5", Some(10168), None),
    ("Nats-Incr", "Nats-Incr: junk", Some(10171), None),
    ("Nats-Schedule", "Nats-Schedule: @every 1h", Some(10188), None),
    ("Nats-Schedule-", "Nats-Schedule-Time-Zone: Nowhere/At-All", Some(10188), None),
    ("Nats-Schedule-", "Nats-Schedule-Next: 2030-01-01T00:00:00Z", Some(10212), None),
    ("Nats-Schedule-", "Nats-Schedule-Target: a.b", None, None),
    ("Nats-Scheduler", "Nats-Scheduler: a.b", Some(10212), None),
    ("Nats-Scheduler", "Nats-Scheduler: a.b\r\nNats-Schedule-Next: purge", Some(10188), None),
    ("Nats-Trace-Dest", "Nats-Trace-Dest: a.b", None, None),
    ("Nats-Trace-", "Nats-Trace-Only: true", None, None),
    ("Nats-Required-Api-Level", "Nats-Required-Api-Level: 999", None, None),
    ("Nats-Request-Info", "Nats-Request-Info: {}", None, None),
];

#[test]
fn verbatim_is_refused_where_the_table_says_so_and_rewritten_is_stored() -> Result<()> {
    assert!(
        TABLE
            .iter()
            .all(|row| VERBATIM.iter().any(|(name, ..)| *name == row.name))
    );
    on_both(|world| {
        for (name, lines, reference, oldest) in VERBATIM {
            let record = record(lines, PAYLOAD);
            let want = if world.is_reference() {
                reference
            } else {
                oldest
            };
            let answer = world.verbatim(&record)?;
            assert_eq!(code_of(&answer), *want, "{lines} got {answer:?}");
            let row = TABLE
                .iter()
                .find(|row| row.name == *name)
                .context("a row of the table")?;
            let kept = match row.treatment {
                Treatment::Rename => format!("{lines}\r\n").replace("Nats-", "Causeway-Nats-"),
                _ => String::new(),
            };
            assert_eq!(world.carried(&record)?.lines, around(&kept), "{lines}");
        }
        Ok(())
    })
}

#[test]
fn what_only_resembles_a_row_is_taken_and_travels_byte_for_byte() -> Result<()> {
    on_both(|world| {
        for (at, (_, lines, ..)) in VERBATIM
            .iter()
            .filter(|(_, lines, ..)| !lines.contains("\r\n"))
            .enumerate()
        {
            let (name, value) = lines.split_once(':').context("a header")?;
            // The old release takes this one out itself, behind a bare LF too.
            if name == "Nats-Request-Info" && !world.is_reference() {
                continue;
            }
            for near in [
                format!("{}:{value}", name.to_lowercase()),
                format!("{name} :{value}"),
                format!("X-{lines}"),
                format!("A: 1\r\n {lines}"),
                format!("A: 1\n{lines}"),
                name.to_owned(),
            ] {
                let record = record(&near, format!("{at}").as_bytes());
                let answer = world.verbatim(&record)?;
                assert_eq!(code_of(&answer), None, "{near:?} got {answer:?}");
                assert_eq!(
                    world.carried(&record)?.lines,
                    around(&format!("{near}\r\n"))
                );
            }
        }
        Ok(())
    })
}

#[test]
fn what_servers_take_for_a_mere_header_travels_as_it_is() -> Result<()> {
    let lines = [
        "Nats-Marker-Reason: MaxAge",
        "KV-Operation: DEL",
        "Nats-Counter-Sources: {\"S\":{\"a\":\"1\"}}",
        "Nats-Stream: S\r\nNats-Subject: a\r\nNats-Sequence: 3\r\nNats-Time-Stamp: x",
        "Nats-Last-Sequence: 1\r\nNats-Num-Pending: 1\r\nNats-UpTo-Sequence: 1",
        "Nats-Msg-Size: 4\r\nNats-Pin-Id: p\r\nNats-Stream-Identity: i",
        "Nats-Last-Consumer: 1\r\nNats-Consumer-Stalled: a.b\r\nNats-Response-Type: create",
        "Nmqtt-Pub: 1\r\nStatus: 503\r\nDescription: none",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "Nats-Trace-Dest: trace disabled",
    ];
    on_both(|world| {
        world.source(&[])?;
        for lines in lines {
            let record = world.at_source(&block(lines), PAYLOAD)?;
            assert_eq!(record.headers, block(lines));
            seq_of(&world.verbatim(&record)?)?;
            assert_eq!(
                world.carried(&record)?.lines,
                around(&format!("{lines}\r\n"))
            );
        }
        Ok(())
    })
}
