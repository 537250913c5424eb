//! Records that are nothing but headers, or nothing at all.

use anyhow::Result;
use causeway_proto::headers::TargetTraits;
use serde_json::json;

use crate::world::{ORDINARY, Release, World, around, block, code_of, on_both, seq_of};

#[test]
fn a_deleted_key_stays_deleted() -> Result<()> {
    on_both(|world| {
        world.source(&["allow_rollup_hdrs"])?;
        let deleted = world.at_source(&block("KV-Operation: DEL"), b"")?;
        assert_eq!(
            world.carried(&deleted)?.lines,
            around("KV-Operation: DEL\r\n")
        );
        let purged = world.at_source(&block("KV-Operation: PURGE\r\nNats-Rollup: sub"), b"")?;
        assert_eq!(code_of(&world.verbatim(&purged)?), Some(10111));
        assert_eq!(
            world.carried(&purged)?.lines,
            around("KV-Operation: PURGE\r\n")
        );
        world.nats.create_stream(
            "KV_b",
            &json!({"allow_rollup_hdrs": true, "subjects": ["KV_b.>"]}),
        )?;
        let able = TargetTraits {
            rollup: true,
            ..ORDINARY
        };
        seq_of(&world.nats.publish_acked("KV_b.k", b"", b"value")?)?;
        let carried = world.carried_to("KV_b", &purged, &able)?;
        assert_eq!(
            carried.lines,
            around("KV-Operation: PURGE\r\nNats-Rollup: sub\r\n")
        );
        assert_eq!(world.nats.state("KV_b")?, (2, 2, 1));
        Ok(())
    })
}

#[test]
fn a_servers_marker_of_an_expired_key_keeps_its_reason() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    let config = json!({"allow_msg_ttl": true, "allow_rollup_hdrs": true,
        "max_msgs_per_subject": 1, "subject_delete_marker_ttl": 60_000_000_000u64});
    world.nats.create_stream("SRC", &config)?;
    // It is gone after a second, so it is not read back.
    let answer = world
        .nats
        .publish_acked("SRC.k", &block("Nats-TTL: 1"), b"value")?;
    seq_of(&answer)?;
    world.nats.consume("SRC", 2)?;
    let marker = world.nats.stored("SRC", 2)?;
    let headers = "Nats-Marker-Reason: MaxAge\r\nNats-TTL: 1m0s\r\nNats-Rollup: sub\r\n";
    assert_eq!(
        marker.headers,
        format!("NATS/1.0\r\n{headers}\r\n").into_bytes()
    );
    assert_eq!(code_of(&world.verbatim(&marker)?), Some(10166));
    assert_eq!(
        world.carried(&marker)?.lines,
        "Nats-Marker-Reason: MaxAge\r\n\r\n"
    );
    // A target of the same kind is given the whole marker, and forgets it in time.
    world.nats.create_stream("KV_b", &config)?;
    let able = TargetTraits {
        ttl: true,
        rollup: true,
        ..ORDINARY
    };
    let carried = world.carried_to("KV_b", &marker, &able)?;
    assert_eq!(carried.lines, format!("{headers}\r\n"));
    Ok(())
}

#[test]
fn empty_payloads_and_records_without_headers_are_carried() -> Result<()> {
    on_both(|world| {
        world.source(&[])?;
        for (block, payload, lines) in [
            (&b""[..], &b""[..], "\r\n"),
            (b"", b"payload", "\r\n"),
            (b"NATS/1.0\r\n\r\n", b"", "\r\n"),
            (b"NATS/1.0\r\nA: 1\r\n\r\n", b"", "A: 1\r\n\r\n"),
        ] {
            let record = world.at_source(block, payload)?;
            assert_eq!(
                (record.headers.as_slice(), record.payload.as_slice()),
                (block, payload)
            );
            assert_eq!(world.carried(&record)?.lines, lines);
        }
        Ok(())
    })
}
