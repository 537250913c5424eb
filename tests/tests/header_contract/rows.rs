//! Row by row of the contract's table.

use anyhow::{Context as _, Result};
use causeway_proto::headers::{TABLE, TargetTraits, Treatment};
use causeway_proto::provenance::{Provenance, find};
use causeway_tests::raw_nats::{ANSWER_TIMEOUT, Answer, Stored};
use serde_json::json;

use crate::world::{
    ORDINARY, PAYLOAD, Release, World, around, block, code_of, on_both, own_lines, rewritten,
    seq_of,
};

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

#[test]
fn expectations_of_the_source_are_stored_there_and_left_out() -> Result<()> {
    on_both(|world| {
        world.source(&[])?;
        world.at_source(&block("Nats-Msg-Id: first"), PAYLOAD)?;
        for (lines, code) in [
            ("Nats-Expected-Last-Msg-Id: first", 10070),
            ("Nats-Expected-Stream: SRC", 10060),
            ("Nats-Expected-Last-Sequence: 3", 10071),
            ("Nats-Expected-Last-Subject-Sequence: 4", 10071),
            (
                "Nats-Expected-Last-Subject-Sequence: 5\r\n\
                 Nats-Expected-Last-Subject-Sequence-Subject: SRC.k",
                10071,
            ),
        ] {
            let record = world.at_source(&block(lines), PAYLOAD)?;
            assert_eq!(record.headers, block(lines));
            let answer = world.verbatim(&record)?;
            assert_eq!(code_of(&answer), Some(code), "{lines} got {answer:?}");
            assert_eq!(world.carried(&record)?.lines, around(""));
        }
        Ok(())
    })
}

#[test]
fn a_publishers_id_moves_into_the_provenance() -> Result<()> {
    on_both(|world| {
        world.source(&[])?;
        let record = world.at_source(&block("Nats-Msg-Id: order 1"), PAYLOAD)?;
        // Somebody else's record, with the same id: verbatim, ours would be lost without an error.
        seq_of(&world.nats.publish_acked(
            "DST.other",
            &block("Nats-Msg-Id: order 1"),
            b"theirs",
        )?)?;
        assert!(matches!(
            world.verbatim(&record)?,
            Answer::Stored {
                duplicate: true,
                ..
            }
        ));
        let carried = world.carried(&record)?;
        assert_eq!(carried.lines, around(""));
        let provenance = Provenance::parse(find(&carried.block).context("ours")?)?;
        assert_eq!(provenance.publisher_id, Some(&b"order%201"[..]));
        // And the same record again is known.
        let again = world.nats.publish_acked("DST.k", &carried.block, PAYLOAD)?;
        assert_eq!(
            again,
            Answer::Stored {
                seq: carried.seq,
                duplicate: true
            }
        );
        Ok(())
    })
}

#[test]
fn a_record_that_was_sourced_keeps_its_source_under_another_name() -> Result<()> {
    on_both(|world| {
        world.nats.create_stream("ORIGIN", &json!({}))?;
        world.nats.create_stream(
            "SRC",
            &json!({"subjects": [], "sources": [{"name": "ORIGIN"}]}),
        )?;
        world
            .nats
            .publish("ORIGIN.k", "", &block("A: 1"), PAYLOAD)?;
        world.nats.consume("SRC", 1)?;
        let record = world.nats.stored("SRC", 1)?;
        let stored = String::from_utf8(record.headers.clone())?;
        let (_, source) = stored
            .split_once("\r\nNats-Stream-Source: ")
            .context("sourced")?;
        let source = source.lines().next().context("a value")?.to_owned();
        let want = world.is_reference().then_some(10227);
        assert_eq!(code_of(&world.verbatim(&record)?), want);
        let lines = world.carried(&record)?.lines;
        assert!(
            lines.contains(&format!("\r\nCauseway-Nats-Stream-Source: {source}\r\n")),
            "{lines}"
        );
        Ok(())
    })
}

#[test]
fn records_of_an_atomic_batch_are_taken_one_by_one() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    world.source(&["allow_atomic"])?;
    let first = block("Nats-Batch-Id: b\r\nNats-Batch-Sequence: 1");
    world.nats.publish("SRC.k", "", &first, b"1")?;
    let last = block("Nats-Batch-Id: b\r\nNats-Batch-Sequence: 2\r\nNats-Batch-Commit: 1");
    let last = world.at_source(&last, b"2")?;
    for record in [world.nats.stored("SRC", 1)?, last] {
        assert_eq!(code_of(&world.verbatim(&record)?), Some(10174));
        assert_eq!(world.carried(&record)?.lines, around(""));
    }
    Ok(())
}

#[test]
fn a_counters_value_travels_and_its_increment_does_not() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    world
        .nats
        .create_stream("COUNTED", &json!({"allow_msg_counter": true}))?;
    let sourced =
        json!({"subjects": [], "allow_msg_counter": true, "sources": [{"name": "COUNTED"}]});
    world.nats.create_stream("SRC", &sourced)?;
    world
        .nats
        .request("COUNTED.k", b"NATS/1.0\r\nNats-Incr: 5\r\n\r\n", b"")?;
    world.nats.consume("SRC", 1)?;
    for stream in ["COUNTED", "SRC"] {
        let record = world.nats.stored(stream, 1)?;
        assert_eq!(record.payload, b"{\"val\":\"5\"}");
        assert_eq!(code_of(&world.verbatim(&record)?), Some(10168), "{stream}");
        let lines = world.carried(&record)?.lines;
        assert!(!lines.contains("Nats-Incr"));
        let summed = stream == "SRC";
        assert_eq!(
            lines.contains("\r\nNats-Counter-Sources: {\"COUNTED\":"),
            summed,
            "{lines}"
        );
    }
    Ok(())
}

#[test]
fn a_schedule_does_not_fire_again() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    world.source(&["allow_msg_schedules", "allow_rollup_hdrs"])?;
    let schedule = "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: SRC.out";
    let definition = world.at_source(&block(schedule), PAYLOAD)?;
    assert_eq!(code_of(&world.verbatim(&definition)?), Some(10188));
    let renamed = schedule.replace("Nats-", "Causeway-Nats-");
    assert_eq!(
        world.carried(&definition)?.lines,
        around(&format!("{renamed}\r\n"))
    );
    world.nats.consume("SRC", 2)?;
    let fired = world.nats.stored("SRC", 2)?;
    assert_eq!(code_of(&world.verbatim(&fired)?), Some(10212));
    let lines = world.carried(&fired)?.lines;
    assert!(
        lines.contains("Causeway-Nats-Scheduler: SRC.k\r\nCauseway-Nats-Schedule-Next: "),
        "{lines}"
    );
    Ok(())
}

#[test]
fn a_trace_ends_where_it_was_asked_for() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    world.source(&[])?;
    // Here the server itself takes the trace out of what it stores, and that is kept.
    let traced = world.at_source(&block("Nats-Trace-Dest: a.b"), PAYLOAD)?;
    assert_eq!(traced.headers, block("Nats-Trace-Dest: trace disabled"));
    assert_eq!(
        world.carried(&traced)?.lines,
        around("Nats-Trace-Dest: trace disabled\r\n")
    );
    // A server that knows no traces stored these; the reference traces the one and drops the other.
    let mut old = World::start(Release::Oldest)?;
    old.source(&[])?;
    for only in ["", "\r\nNats-Trace-Only: true"] {
        let lines = format!("Nats-Trace-Dest: a.b{only}");
        let record = old.at_source(&block(&lines), PAYLOAD)?;
        assert_eq!(record.headers, block(&lines));
        let traces = world.nats.subscribe("a.b")?;
        let answer = world
            .nats
            .publish_unanswered("DST.k", &record.headers, PAYLOAD)?;
        assert_eq!(answer == Answer::Silence, !only.is_empty());
        assert!(world.nats.next(traces, ANSWER_TIMEOUT)?.is_some(), "traced");
        assert_eq!(world.carried(&record)?.lines, around(""));
    }
    Ok(())
}

#[test]
fn a_required_level_would_end_a_fast_batch() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    world.source(&[])?;
    world
        .nats
        .create_stream("FAST", &json!({"allow_batched": true}))?;
    let record = world.at_source(&block("Nats-Required-Api-Level: 999"), PAYLOAD)?;
    assert_eq!(record.headers, block("Nats-Required-Api-Level: 999"));
    let mut batch = |id: &str, headers: &[u8]| -> Result<String> {
        let inbox = world.nats.new_inbox();
        world.nats.publish(
            "FAST.k",
            &format!("{inbox}.{id}.10.fail.1.2.$FI"),
            headers,
            PAYLOAD,
        )?;
        let answer = world
            .nats
            .answer(&inbox, ANSWER_TIMEOUT)?
            .context("an answer")?;
        Ok(String::from_utf8(answer.payload)?)
    };
    let refused = batch("a", &record.headers)?;
    assert!(refused.contains("10185"), "{refused}");
    let stored = batch("b", &rewritten("FAST.k", &record, &ORDINARY)?)?;
    assert!(stored.contains("\"count\":1"), "{stored}");
    Ok(())
}

#[test]
fn a_rollup_purges_only_where_the_route_may() -> Result<()> {
    on_both(|world| {
        world.source(&["allow_rollup_hdrs"])?;
        world
            .nats
            .create_stream("ROLL", &json!({"allow_rollup_hdrs": true}))?;
        let able = TargetTraits {
            rollup: true,
            ..ORDINARY
        };
        for (value, left) in [("sub", 2), ("all", 1)] {
            let record = world.at_source(&block(&format!("Nats-Rollup: {value}")), PAYLOAD)?;
            assert_eq!(code_of(&world.verbatim(&record)?), Some(10111));
            assert_eq!(world.carried(&record)?.lines, around(""));
            for subject in ["ROLL.k", "ROLL.k", "ROLL.other"] {
                seq_of(&world.nats.publish_acked(subject, b"", b"")?)?;
            }
            let (.., before) = world.nats.state("ROLL")?;
            assert_eq!(
                world.carried_to("ROLL", &record, &ORDINARY)?.lines,
                around("")
            );
            assert_eq!(
                world.nats.state("ROLL")?.2,
                before + 1,
                "a shared target keeps all"
            );
            let lines = world.carried_to_again("ROLL", &record, &able)?;
            assert_eq!(lines, around(&format!("Nats-Rollup: {value}\r\n")));
            assert_eq!(world.nats.state("ROLL")?.2, left, "{value}");
            world.nats.api("STREAM.PURGE.ROLL", &json!({}))?;
        }
        Ok(())
    })
}

impl World {
    /// Publishes without a dedupe id, as a second time in a test's life; returns the record's lines.
    fn carried_to_again(
        &mut self,
        stream: &str,
        record: &Stored,
        traits: &TargetTraits,
    ) -> Result<String> {
        let subject = format!("{stream}.k");
        let block = String::from_utf8(rewritten(&subject, record, traits)?)?;
        let own = String::from_utf8(own_lines(&subject, record).to_vec())?;
        let lines = block.replace(&own, "");
        seq_of(
            &self
                .nats
                .publish_acked(&subject, lines.as_bytes(), &record.payload)?,
        )?;
        Ok(lines.replace("NATS/1.0\r\n", ""))
    }
}

#[test]
fn a_client_info_header_never_reaches_a_stream() -> Result<()> {
    on_both(|world| {
        world.source(&[])?;
        let record = world.at_source(&block("Nats-Request-Info: {\"acc\":\"A\"}"), PAYLOAD)?;
        assert_eq!(
            String::from_utf8(record.headers)?,
            format!("NATS/1.0\r\n{}", around(""))
        );
        Ok(())
    })
}
