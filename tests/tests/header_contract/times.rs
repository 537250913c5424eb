//! `Nats-TTL`: a life that goes on counting.

use anyhow::{Context as _, Result};
use causeway_proto::headers::TargetTraits;
use serde_json::json;

use crate::world::{
    ORDINARY, PAYLOAD, Release, World, around, block, code_of, on_both, seq_of, try_rewrite,
};

const LIVING: TargetTraits = TargetTraits {
    ttl: true,
    ..ORDINARY
};

#[test]
fn a_life_is_left_out_where_the_target_keeps_none() -> Result<()> {
    on_both(|world| {
        world.source(&["allow_msg_ttl"])?;
        for value in ["60", "1h30m", "never"] {
            let record = world.at_source(&block(&format!("Nats-TTL: {value}")), PAYLOAD)?;
            let want = world.is_reference().then_some(10166);
            assert_eq!(code_of(&world.verbatim(&record)?), want);
            assert_eq!(world.carried(&record)?.lines, around(""));
        }
        Ok(())
    })
}

#[test]
fn what_is_left_of_a_life_is_what_the_target_is_told() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    world.source(&["allow_msg_ttl"])?;
    world
        .nats
        .create_stream("LIVE", &json!({"allow_msg_ttl": true}))?;
    for (value, age_s, want) in [
        ("60", 0, Some("60")),
        ("1h30m", 0, Some("1h30m")),
        ("1h30m", 3600, Some("1800")),
        ("60", 50, Some("10")),
        ("60", 60, None),
        ("never", 1_000_000, Some("never")),
    ] {
        let record = world.at_source(&block(&format!("Nats-TTL: {value}")), PAYLOAD)?;
        let rewritten = try_rewrite("LIVE.k", &record, &LIVING, age_s)??;
        let Some(want) = want else {
            assert_eq!(rewritten, None, "{value} after {age_s} s is over");
            continue;
        };
        let rewritten = rewritten.context("alive")?;
        let line = format!("\r\nNats-TTL: {want}\r\n");
        assert!(
            String::from_utf8_lossy(&rewritten).contains(&line),
            "{value} after {age_s} s"
        );
        let seq = seq_of(&world.nats.publish_acked("LIVE.k", &rewritten, PAYLOAD)?)?;
        assert_eq!(world.nats.stored("LIVE", seq)?.headers, rewritten);
    }
    Ok(())
}

#[test]
fn the_target_ends_the_rest_of_a_life() -> Result<()> {
    let mut world = World::start(Release::Reference)?;
    world.source(&["allow_msg_ttl"])?;
    let config = json!({"allow_msg_ttl": true, "subject_delete_marker_ttl": 1_000_000_000u64,
        "allow_rollup_hdrs": true});
    world.nats.create_stream("LIVE", &config)?;
    let record = world.at_source(&block("Nats-TTL: 3600"), PAYLOAD)?;
    let rewritten = try_rewrite("LIVE.k", &record, &LIVING, 3599)??.context("alive")?;
    seq_of(&world.nats.publish_acked("LIVE.k", &rewritten, PAYLOAD)?)?;
    // The server's marker of the end comes as the next record.
    let marker = world.nats.consume("LIVE", 2)?;
    assert!(String::from_utf8_lossy(&marker.headers).contains("Nats-Marker-Reason: MaxAge"));
    Ok(())
}

#[test]
fn a_life_that_no_server_understands_is_left_out() -> Result<()> {
    let mut old = World::start(Release::Oldest)?;
    old.source(&[])?;
    let mut world = World::start(Release::Reference)?;
    world
        .nats
        .create_stream("LIVE", &json!({"allow_msg_ttl": true}))?;
    for value in ["0", "junk", "60 ", "999ms", "-1h"] {
        let record = old.at_source(&block(&format!("Nats-TTL: {value}")), PAYLOAD)?;
        let answer = world
            .nats
            .publish_acked("LIVE.k", &record.headers, PAYLOAD)?;
        assert_eq!(code_of(&answer), Some(10165), "{value:?} got {answer:?}");
        assert_eq!(
            world.carried_to("LIVE", &record, &LIVING)?.lines,
            around("")
        );
    }
    // What says nothing is taken, and stays.
    for value in ["", "00"] {
        let line = format!("Nats-TTL: {value}");
        let record = old.at_source(&block(&line), PAYLOAD)?;
        let lines = world.carried_to("LIVE", &record, &LIVING)?.lines;
        assert_eq!(lines, around(&format!("{line}\r\n")));
    }
    Ok(())
}
