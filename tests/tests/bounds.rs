//! Where a record meets the bound of a server, and an operator the end of a stream.

#![cfg(feature = "servers")]

use anyhow::{Result, ensure};
use causeway_tests::regions::{DEADLINE, Setup, TARGET, TwoRegions, jetstream_of, read_numbers};
use tokio::time::timeout;

/// Both servers take a megabyte, headers included. The record fits, with what Causeway adds it does not; nor does a copy of
/// it with what is said of it.
#[tokio::test]
async fn a_record_as_large_as_its_server_allows_does_not_hold_up_the_route() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let us = jetstream_of(&regions.us).await?;
    let len = (1 << 20) - 20;
    us.publish("orders.big", vec![b'x'; len].into())
        .await?
        .await?;
    regions.publish(100).await?;
    regions.verify().await?;
    let kept = us.get_stream("CAUSEWAY_REJECTED").await?;
    let kept = kept.get_raw_message(1).await?;
    let told = kept.headers.get("Causeway-Rejected-Payload-Length");
    ensure!(
        told.is_some_and(|told| told.as_str() == len.to_string()),
        "{:?}",
        kept.headers
    );
    ensure!(
        kept.payload.len() > len - 1_000,
        "{} bytes kept",
        kept.payload.len()
    );
    Ok(())
}

#[tokio::test]
async fn a_seek_beyond_the_end_is_refused_and_sends_nothing_again() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(100).await?;
    regions.verify().await?;
    let refused = regions.route("us", &["seek", "orders", "5000"]).await?;
    ensure!(!refused.status.success(), "{refused:?}");
    let words = [&refused.stdout[..], &refused.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    ensure!(words.contains("ends at 100"), "{words}");
    regions.publish(10).await?;
    regions.verify().await?;
    let allowed = regions.route("us", &["seek", "orders", "new"]).await?;
    ensure!(allowed.status.success(), "{allowed:?}");
    regions.publish(10).await?;
    regions.verify().await
}

#[tokio::test]
async fn a_start_beyond_the_end_waits_for_the_stream_to_get_there() -> Result<()> {
    let mut regions = TwoRegions::start(Setup {
        route: "start = 51".into(),
        ..Setup::default()
    })
    .await?;
    regions.publish(20).await?;
    let waits = |status: &serde_json::Value| {
        let route = &status["routes"][0];
        route["state"] == "waiting_for_source"
            && route["reason"].to_string().contains("51 is not there yet")
    };
    regions.await_status("us", waits).await?;
    regions.publish(80).await?;
    let wanted = timeout(DEADLINE, read_numbers(&regions.eu, TARGET, 50)).await??;
    ensure!(wanted.iter().copied().eq(50..100), "{wanted:?}");
    Ok(())
}
