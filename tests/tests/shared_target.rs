//! A target that others write, too: nothing of theirs, and nothing of ours, is taken for the other's.

#![cfg(feature = "servers")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::stream::{self, DiscardPolicy};
use causeway_tests::regions::{
    DEADLINE, Setup, TARGET, TwoRegions, jetstream_of, read_numbers, read_records,
};
use serde_json::Value;
use tokio::time::timeout;

#[tokio::test]
async fn a_deleted_store_with_others_on_the_target() -> Result<()> {
    let setup = Setup {
        route: "writers = \"shared\"".into(),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    regions.publish(1_000).await?;
    regions.verify().await?;
    // A local publisher of the target region writes behind the route's last record.
    let local = jetstream_of(&regions.eu).await?;
    local
        .publish("pii.local", "{\"n\":1000}".into())
        .await?
        .await?;
    regions.sidecar("eu").kill().await?;
    std::fs::remove_dir_all(regions.state("eu"))?;
    regions.start_sidecar("eu")?;
    let us = jetstream_of(&regions.us).await?;
    for number in 1_001..1_500 {
        let body = format!("{{\"n\":{number}}}");
        us.publish("orders.more", body.into()).await?.await?;
    }
    let read = read_numbers(&regions.eu, TARGET, 1_500);
    let numbers = timeout(DEADLINE, read).await??;
    ensure!(
        numbers.iter().copied().eq(0..1_500),
        "not each once in order: {numbers:?}"
    );
    Ok(())
}

/// Without fast ingest, a route that was to be alone chains its publishes; somebody else's record breaks the chain. From
/// then on a refused record must hold up those behind it all the same: here the target keeps one record a subject and
/// refuses the next, so that a later one could slip past it and be taken for proof that all before it are stored.
#[tokio::test]
async fn a_refused_record_is_not_overtaken_when_the_route_is_not_alone() -> Result<()> {
    let setup = Setup {
        target: Some(stream::Config {
            name: TARGET.into(),
            subjects: vec!["orders.>".into(), "pii.>".into()],
            duplicate_window: Duration::from_millis(100),
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..Default::default()
        }),
        ..Setup::default()
    };
    let regions = TwoRegions::start(setup).await?;
    publish(&regions, &["orders.a"]).await?;
    await_messages(&regions, 1).await?;
    let local = jetstream_of(&regions.eu).await?;
    local.publish("pii.local", "theirs".into()).await?.await?;
    publish(&regions, &["orders.b"]).await?;
    await_messages(&regions, 3).await?;

    regions.relay.cut(); // so that they arrive together
    publish(&regions, &["orders.a", "orders.c", "orders.d"]).await?;
    regions.relay.heal();
    regions.await_status("eu", is_stalled).await?;
    let target = local.get_stream(TARGET).await?;
    let held = target.get_info().await?.state.messages;
    ensure!(held == 3, "{held} records, past the one that was refused");

    target.purge().filter("orders.a").await?;
    await_messages(&regions, 5).await?;
    let mut last = 0;
    for subject in ["orders.a", "orders.c", "orders.d"] {
        let record = target.get_last_raw_message_by_subject(subject).await?;
        ensure!(
            record.sequence > last,
            "{subject} at {} after {last}",
            record.sequence
        );
        last = record.sequence;
    }
    Ok(())
}

async fn publish(regions: &TwoRegions, subjects: &[&'static str]) -> Result<()> {
    let us = jetstream_of(&regions.us).await?;
    for subject in subjects {
        us.publish(*subject, "ours".into()).await?.await?;
    }
    Ok(())
}

async fn await_messages(regions: &TwoRegions, count: u64) -> Result<()> {
    let read = timeout(DEADLINE, read_records(&regions.eu, TARGET, count)).await;
    read.with_context(|| format!("fewer than {count} records\n{}", regions.logs()))??;
    Ok(())
}

fn is_stalled(status: &Value) -> bool {
    let routes = status["routes"].as_array().into_iter().flatten();
    routes.clone().any(|route| route["state"] == "stalled")
}
