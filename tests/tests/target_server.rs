//! The target's server goes, comes back with less, or refuses one route what it grants another.

#![cfg(feature = "servers")]

use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream::{self, StorageType};
use causeway_tests::regions::{DEADLINE, Setup, TARGET, TwoRegions};
use tokio::time::timeout;

/// With what is in memory gone, and nothing published that would show it.
#[tokio::test]
async fn an_idle_route_repairs_a_target_that_lost_its_records() -> Result<()> {
    let in_memory = stream::Config {
        name: TARGET.into(),
        subjects: vec!["orders.>".into(), "pii.>".into()],
        duplicate_window: Duration::from_millis(100),
        storage: StorageType::Memory,
        allow_batch_publish: true,
        ..Default::default()
    };
    let setup = Setup {
        target: Some(in_memory),
        route: "create = { storage = \"memory\", duplicate_window = \"100ms\" }".into(),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    regions.publish(500).await?;
    regions.verify().await?;
    regions.eu.restart().await?;
    regions.verify().await
}

#[tokio::test]
async fn a_target_server_that_is_gone_stalls_the_route_and_holds_up_no_end() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let publishing = regions.publish_in_background(20_000).await?;
    regions.await_target(2_000).await?;
    regions.eu.kill().await?;
    let status = regions
        .await_status("us", |status| status["routes"][0]["state"] == "stalled")
        .await?;
    let reason = status["routes"][0]["reason"].as_str().unwrap_or_default();
    ensure!(reason.starts_with("target_unreachable"), "{status}");
    // Not drained within the grace period would be exit status 1.
    regions.sidecar("us").terminate()?;
    let ended = timeout(DEADLINE, regions.sidecar("us").wait()).await??;
    ensure!(ended.success(), "{ended}\n{}", regions.logs());
    regions.start_sidecar("us")?;
    regions.eu.restart().await?;
    publishing.await??;
    regions.verify().await
}
