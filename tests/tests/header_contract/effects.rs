//! Headers that make a server do something: count, schedule, trace, purge. It is done at the source; at the
//! target it happens again only where the contract says so.

use anyhow::{Context as _, Result};
use causeway_proto::headers::TargetTraits;
use causeway_tests::raw_nats::{ANSWER_TIMEOUT, Answer, Stored};
use serde_json::json;

use crate::world::{
    ORDINARY, PAYLOAD, Release, World, around, block, code_of, on_both, own_lines, rewritten,
    seq_of,
};

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
        if only.is_empty() {
            seq_of(&world.verbatim(&record)?)?;
        } else {
            let nats = &mut world.nats;
            let answer = nats.publish_unanswered("DST.k", &record.headers, PAYLOAD)?;
            assert_eq!(answer, Answer::Silence);
        }
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
