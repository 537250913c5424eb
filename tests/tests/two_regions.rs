//! Whole sidecars between real servers: each test breaks one thing and then compares both ends.
//!
//! The target's duplicate window is the server's minimum, so that its dedupe cannot hide a fault of
//! ours.

#![cfg(feature = "servers")]

use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use causeway_tests::regions::{DEADLINE, SOURCE, Setup, TARGET, TwoRegions, jetstream_of};
use tokio::time::sleep;

const LOSSY: (Duration, u32) = (Duration::from_millis(10), 10_000);

fn target(name: &str) -> stream::Config {
    stream::Config {
        name: name.into(),
        subjects: vec!["orders.>".into(), "pii.>".into()],
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_backlog_and_then_live_records() -> Result<()> {
    let mut regions = TwoRegions::start(Setup {
        wan: LOSSY,
        ..Setup::default()
    })
    .await?;
    regions.publish(5_000).await?;
    regions.verify().await?;
    for _ in 0..20 {
        regions.publish(1).await?;
        regions.verify().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_may_not_leave_stays() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let jetstream = jetstream_of(&regions.us).await?;
    for number in 0..50 {
        jetstream
            .publish(format!("pii.{number}"), "secret".into())
            .await?
            .await?;
    }
    regions.publish(50).await?;
    regions.verify().await?;
    let info = jetstream_of(&regions.eu)
        .await?
        .get_stream(TARGET)
        .await?
        .get_info()
        .await?;
    ensure!(info.state.messages == 50, "{} records", info.state.messages);
    Ok(())
}

#[tokio::test]
async fn a_cut_longer_than_the_duplicate_window() -> Result<()> {
    let mut regions = TwoRegions::start(Setup {
        wan: LOSSY,
        ..Setup::default()
    })
    .await?;
    let publishing = regions.publish_in_background(20_000).await?;
    regions.await_target(2_000).await?;
    regions.relay.cut();
    publishing.await??; // takes far longer than the window of 100 ms
    regions.relay.heal();
    regions.verify().await
}

#[tokio::test]
async fn kill_9_of_the_target_sidecar_in_full_flow() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let publishing = regions.publish_in_background(20_000).await?;
    for count in [1_000, 5_000, 9_000] {
        regions.await_target(count).await?;
        regions.kill_and_start_sidecar("eu").await?;
    }
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn kill_9_of_the_source_sidecar_in_full_flow() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let publishing = regions.publish_in_background(20_000).await?;
    for count in [1_000, 5_000, 9_000] {
        regions.await_target(count).await?;
        regions.kill_and_start_sidecar("us").await?;
    }
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn kill_9_of_the_source_server() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(10_000).await?;
    regions.us.kill().await?;
    regions.us.restart().await?;
    regions.publish(1_000).await?;
    regions.verify().await
}

#[tokio::test]
async fn a_target_server_stopped_and_back() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let publishing = regions.publish_in_background(20_000).await?;
    regions.await_target(2_000).await?;
    regions.eu.stop().await?;
    regions.eu.restart().await?;
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn sidecars_paused_longer_than_the_duplicate_window() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    for region in ["eu", "us"] {
        let publishing = regions.publish_in_background(10_000).await?;
        regions.sidecar(region).pause()?;
        publishing.await??; // takes far longer than the window of 100 ms
        regions.sidecar(region).resume()?;
        regions.verify().await?;
    }
    Ok(())
}

/// As on a machine that was suspended: nothing came only because nobody read it. Standing still is what breaks here,
/// and takes its time.
#[tokio::test]
async fn sidecars_that_stood_still_together_keep_their_link() -> Result<()> {
    let reconnects = |status: &serde_json::Value| status["links"][0]["reconnects"].as_u64();
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(100).await?;
    regions.verify().await?;
    let before = reconnects(&regions.status("eu").await?);
    // Idle: where records have just come, even a link that judges by the clock is kept.
    sleep(Duration::from_millis(1_600)).await;
    for region in ["us", "eu"] {
        regions.sidecar(region).pause()?;
    }
    sleep(Duration::from_secs(5)).await; // longer than a link may be silent
    for region in ["us", "eu"] {
        regions.sidecar(region).resume()?;
    }
    regions.publish(100).await?;
    regions.verify().await?;
    let after = reconnects(&regions.status("eu").await?);
    ensure!(
        before.is_some() && before == after,
        "{before:?} and {after:?} reconnects\n{}",
        regions.logs()
    );
    Ok(())
}

#[tokio::test]
async fn a_target_without_fast_ingest() -> Result<()> {
    let setup = Setup {
        target: Some(target(TARGET)),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    let publishing = regions.publish_in_background(10_000).await?;
    regions.await_target(1_000).await?;
    regions.kill_and_start_sidecar("eu").await?;
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn a_target_server_of_2_10() -> Result<()> {
    let setup = Setup {
        target_version: Some(causeway::demo::provision::OLDEST_VERSION),
        target: Some(target(TARGET)),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    regions.publish(5_000).await?;
    regions.verify().await
}

#[tokio::test]
async fn a_deleted_store_with_the_route_alone_on_its_target() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(3_000).await?;
    regions.verify().await?;
    for region in ["us", "eu"] {
        regions.sidecar(region).kill().await?;
        std::fs::remove_dir_all(regions.state(region))?;
        regions.start_sidecar(region)?;
    }
    regions.publish(3_000).await?;
    regions.verify().await
}

#[tokio::test]
async fn a_certificate_of_another_region_is_refused() -> Result<()> {
    let setup = Setup {
        eu_certificate: "us",
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    let status = tokio::time::timeout(DEADLINE, regions.sidecar("eu").wait()).await??;
    ensure!(
        !status.success(),
        "ran with the certificate of another region"
    );
    let log = regions.logs();
    ensure!(log.contains("certificate is for us"), "{log}");
    Ok(())
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_0() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    let publishing = regions.publish_in_background(20_000).await?;
    regions.await_target(1_000).await?;
    for region in ["us", "eu"] {
        regions.sidecar(region).terminate()?;
        let status = tokio::time::timeout(DEADLINE, regions.sidecar(region).wait()).await??;
        ensure!(status.success(), "{region}: {status}\n{}", regions.logs());
        regions.start_sidecar(region)?;
    }
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn a_source_that_is_recreated_is_read_from_its_start() -> Result<()> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(500).await?;
    regions.verify().await?;
    regions.sidecar("us").kill().await?;
    let us = jetstream_of(&regions.us).await?;
    us.delete_stream(SOURCE).await?;
    us.create_stream(target(SOURCE)).await?;
    regions.publish(200).await?;
    regions.start_sidecar("us")?;
    regions.verify().await
}

#[tokio::test]
async fn a_record_too_large_for_the_target_is_kept_aside_and_the_route_goes_on() -> Result<()> {
    let small = stream::Config {
        max_message_size: 2_000,
        allow_batch_publish: true,
        ..target(TARGET)
    };
    let setup = Setup {
        target: Some(small),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    let us = jetstream_of(&regions.us).await?;
    us.publish("orders.big", vec![b'x'; 3_000].into())
        .await?
        .await?;
    regions.publish(100).await?;
    regions.verify().await?;
    let aside = us.get_stream("CAUSEWAY_REJECTED").await?;
    let kept = aside.get_raw_message(1).await?;
    ensure!(
        kept.payload.len() == 3_000,
        "{} bytes kept",
        kept.payload.len()
    );
    ensure!(
        kept.headers.get("Causeway-Rejected-Subject").is_some(),
        "{:?}",
        kept.headers
    );
    Ok(())
}

#[tokio::test]
async fn a_full_target_stalls_the_route_and_recovers_by_itself() -> Result<()> {
    let full = stream::Config {
        max_messages: 50,
        discard: stream::DiscardPolicy::New,
        allow_batch_publish: true,
        ..target(TARGET)
    };
    let setup = Setup {
        target: Some(full.clone()),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    regions.publish(200).await?;
    regions.await_target(50).await?;
    // Stopped meanwhile, it does not wait for room: not drained in time would be exit status 1.
    regions
        .await_status("us", |status| status["routes"][0]["state"] == "stalled")
        .await?;
    regions.sidecar("us").terminate()?;
    let status = tokio::time::timeout(DEADLINE, regions.sidecar("us").wait()).await??;
    ensure!(status.success(), "{status}\n{}", regions.logs());
    regions.start_sidecar("us")?;
    let eu = jetstream_of(&regions.eu).await?;
    eu.update_stream(stream::Config {
        max_messages: -1,
        ..full
    })
    .await?;
    regions.verify().await
}
