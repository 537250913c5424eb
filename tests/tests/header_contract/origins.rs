//! Headers that say where a record came from, and what was expected of it there: said of the source, so
//! none of it holds at the target.

use anyhow::{Context as _, Result};
use causeway_proto::provenance::{Provenance, find};
use causeway_tests::raw_nats::Answer;
use serde_json::json;

use crate::world::{PAYLOAD, Release, World, around, block, code_of, on_both, seq_of};

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
