//! What happens to a source stream while a sidecar reads it, link and sidecars untouched: it is made
//! anew, its server restored, or its limits take records that were not read yet.

#![cfg(feature = "servers")]

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use causeway_tests::regions::{SOURCE, Setup, TARGET, TwoRegions, jetstream_of};
use futures_util::TryStreamExt as _;
use serde_json::Value;

fn source() -> stream::Config {
    stream::Config {
        name: SOURCE.into(),
        subjects: vec!["orders.>".into(), "pii.>".into()],
        ..Default::default()
    }
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_stream_made_anew_under_a_running_sidecar_is_read_from_its_start() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(500).await?;
    regions.verify().await?;
    let us = jetstream_of(&regions.us).await?;
    // Once shorter and once longer than what was read of the one before.
    for count in [200, 800] {
        us.delete_stream(SOURCE).await?;
        us.create_stream(source()).await?;
        regions.publish(count).await?;
        regions.verify().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_restored_under_a_running_sidecar_is_read_from_where_it_differs() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(500).await?;
    regions.verify().await?;
    let backup = tempfile::tempdir()?;
    let (kept, live) = (backup.path().join("us"), regions.state("us"));
    let live = live.with_file_name("us");
    regions.us.stop().await?;
    copy(&live, &kept)?;
    regions.us.restart().await?;
    regions.publish(300).await?;
    regions.verify().await?;
    // A server that comes back as it was costs no lane.
    let log = regions.logs();
    ensure!(!log.contains("the source stream went back"), "{log}");

    regions.us.stop().await?;
    std::fs::remove_dir_all(&live)?;
    copy(&kept, &live)?;
    regions.us.restart().await?;
    regions.publish(400).await?;
    regions.verify().await
}

#[tokio::test]
async fn a_stream_in_memory_whose_server_restarts_is_read_from_its_start() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let us = jetstream_of(&regions.us).await?;
    us.delete_stream(SOURCE).await?;
    let in_memory = stream::Config {
        storage: stream::StorageType::Memory,
        ..source()
    };
    us.create_stream(in_memory.clone()).await?;
    regions.publish(300).await?;
    regions.verify().await?;
    regions.us.kill().await?;
    regions.us.restart().await?;
    let us = jetstream_of(&regions.us).await?;
    us.get_or_create_stream(in_memory).await?;
    regions.publish(700).await?;
    regions.verify().await
}

/// A payload with which record `number` of `count`, alone in its stream, counts as 512 bytes of a pull: the server adds up
/// subject, payload and the reply subject that it makes for a consumer's delivery.
fn half_a_kilobyte(subject: &str, number: usize, count: usize) -> String {
    let consumer = "causeway-01234567";
    let (stored_at, behind) = (i64::MAX, count - number);
    let reply = format!("$JS.ACK.{SOURCE}.{consumer}.1.{number}.{number}.{stored_at}.{behind}");
    "x".repeat(512 - subject.len() - reply.len())
}

/// A pull whose bytes are used up to the last ends without a word of the server. Here all do.
#[tokio::test]
async fn pulls_that_end_without_a_word_are_followed_by_others() -> Result<()> {
    const COUNT: usize = 6_000;
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.sidecar("us").kill().await?;
    let us = jetstream_of(&regions.us).await?;
    for number in 1..=COUNT {
        let payload = half_a_kilobyte("orders.new", number, COUNT);
        us.publish("orders.new", payload.into()).await?.await?;
    }
    regions.start_sidecar("us")?;
    let is_done = |status: &Value| status["routes"][0]["watermark"] == COUNT;
    regions.await_status("us", is_done).await?;
    // A consumer that was given up would have delivered a part of them.
    let stream = us.get_stream(SOURCE).await?;
    let consumers: Vec<_> = stream.consumers().try_collect().await?;
    let delivered: Vec<_> = consumers
        .iter()
        .map(|it| it.delivered.consumer_sequence)
        .collect();
    ensure!(delivered == [COUNT as u64], "{delivered:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_bounds_its_pulls_is_read_within_its_bound() -> Result<()> {
    let store = tempfile::tempdir()?;
    let bounded = format!(
        "jetstream {{ store_dir: {:?}, limits {{ max_request_batch: 50 }} }}",
        store.path()
    );
    let mut regions = TwoRegions::start(Setup {
        source_server: vec![bounded],
        ..Setup::default()
    })
    .await?;
    regions.publish(2_000).await?;
    regions.verify().await?;
    let us = jetstream_of(&regions.us).await?;
    let stream = us.get_stream(SOURCE).await?;
    let consumers: Vec<_> = stream.consumers().try_collect().await?;
    ensure!(consumers.len() == 1, "{} consumers", consumers.len());
    Ok(())
}

/// A server ends the connection of who sends it a longer line, and with it all routes'.
#[tokio::test]
async fn a_subject_that_no_line_has_room_for_is_kept_aside_and_the_route_goes_on() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let us = jetstream_of(&regions.us).await?;
    let subject = format!("orders.{}", "x".repeat(4_070));
    // Without a subject for an answer, for which there is no room either.
    let client = async_nats::connect(regions.us.url()).await?;
    client.publish(subject.clone(), "{}".into()).await?;
    client.flush().await?;
    regions.publish(100).await?;
    regions.verify().await?;
    let aside = us.get_stream("CAUSEWAY_REJECTED").await?;
    let kept = aside.get_raw_message(1).await?;
    let named = kept.headers.get("Causeway-Rejected-Subject");
    ensure!(
        named.is_some_and(|it| it.as_str() == subject),
        "{:?}",
        kept.headers
    );
    Ok(())
}

/// Four kilobytes that compress to half.
fn noise() -> String {
    (0..256)
        .map(|_| format!("{:016x}", rand::random::<u64>()))
        .collect()
}

#[tokio::test]
async fn what_a_slow_link_comes_too_late_for_is_counted_as_expired() -> Result<()> {
    const COUNT: u64 = 2_000;
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(1).await?;
    regions.verify().await?;
    regions.edit_fleet("rate = \"200 Mbit/s\"", "rate = \"2 Mbit/s\"")?;
    for region in ["us", "eu"] {
        let (code, answer) = regions.reload(region).await?;
        ensure!(code == 200, "{answer}");
    }
    let before = regions.status("us").await?;
    let us = jetstream_of(&regions.us).await?;
    us.update_stream(stream::Config {
        max_messages: 200,
        ..source()
    })
    .await?;
    // One by one: the server delivers while it can, so that only the link makes the reader late.
    for number in 0..COUNT {
        let subject = format!("orders.{number}");
        us.publish(subject, noise().into()).await?.await?;
    }

    let is_done = |status: &Value| status["routes"][0]["watermark"] == COUNT + 1;
    let status = regions.await_status("us", is_done).await?;
    let eu = jetstream_of(&regions.eu).await?;
    let target = eu.get_stream(TARGET).await?.get_info().await?;
    let positions = &status["routes"][0]["positions"];
    let arrived = target.state.messages;
    ensure!(arrived < COUNT, "all arrived: the link was not slow");
    ensure!(positions["read"] == arrived, "{arrived}: {positions}");
    ensure!(
        positions["expired"] == COUNT + 1 - arrived,
        "{arrived}: {positions}"
    );
    ensure!(positions["filtered"] == 0, "{positions}");
    let reconnects = |status: &Value| status["links"][0]["reconnects"].clone();
    ensure!(reconnects(&before) == reconnects(&status), "{status}");
    Ok(())
}
