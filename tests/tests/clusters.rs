//! Regions of three servers with three copies of each stream: servers are killed, leaders step down, a majority goes.

#![cfg(feature = "servers")]

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use causeway_tests::regions::{SOURCE, Setup, TARGET, TwoRegions, jetstream_of};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

async fn start() -> Result<TwoRegions> {
    TwoRegions::start(Setup {
        servers: 3,
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn kill_9_of_each_server_that_leads_the_target() -> Result<()> {
    let mut regions = start().await?;
    let publishing = regions.publish_in_background(20_000).await?;
    for count in [1_000, 5_000, 9_000] {
        regions.await_stored(&regions.eu, count).await?;
        let leader = regions.await_leader(&regions.eu, TARGET, "").await?;
        regions.server(&leader).kill().await?;
        let survivor = regions.other_server("eu", &leader);
        regions.await_leader(survivor, TARGET, &leader).await?;
        regions.await_stored(survivor, count + 1_000).await?;
        regions.server(&leader).restart().await?;
        regions.await_copies(&regions.eu, TARGET).await?;
    }
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn the_target_is_led_by_one_server_after_the_other() -> Result<()> {
    let mut regions = start().await?;
    let publishing = regions.publish_in_background(20_000).await?;
    for count in 1..=12 {
        regions.await_stored(&regions.eu, 1_000 * count).await?;
        regions.step_down("eu", TARGET).await?;
    }
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn a_target_without_a_majority_stalls_until_it_has_one() -> Result<()> {
    let mut regions = start().await?;
    let publishing = regions.publish_in_background(20_000).await?;
    regions.await_stored(&regions.eu, 2_000).await?;
    for name in ["eu-1", "eu-2"] {
        regions.server(name).kill().await?;
    }
    regions
        .await_status("us", |status| {
            let reason = status["routes"][0]["reason"].as_str().unwrap_or_default();
            reason.starts_with("target_unreachable") || reason.starts_with("no_quorum")
        })
        .await?;
    for name in ["eu-1", "eu-2"] {
        regions.server(name).restart().await?;
    }
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn kill_9_of_each_server_of_the_source() -> Result<()> {
    let mut regions = start().await?;
    regions.publish(2_000).await?;
    for name in ["us", "us-1", "us-2"] {
        regions.server(name).kill().await?;
        let survivor = regions.other_server("us", name);
        regions.await_leader(survivor, SOURCE, name).await?;
        let survivor = survivor.name().to_owned();
        regions.publish_by(&survivor, 2_000).await?;
        regions.verify().await?;
        regions.server(name).restart().await?;
        regions
            .await_copies(regions.other_server("us", name), SOURCE)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_source_is_led_by_one_server_after_the_other() -> Result<()> {
    let mut regions = start().await?;
    for _ in 0..12 {
        regions.publish(500).await?;
        regions.step_down("us", SOURCE).await?;
        regions.await_leader(&regions.us, SOURCE, "").await?;
    }
    regions.verify().await
}

#[tokio::test]
async fn what_the_target_rejects_is_kept_in_as_many_copies_as_its_source() -> Result<()> {
    let small = stream::Config {
        name: TARGET.into(),
        subjects: vec!["orders.>".into()],
        max_message_size: 2_000,
        num_replicas: 3,
        allow_batch_publish: true,
        ..Default::default()
    };
    let mut regions = TwoRegions::start(Setup {
        servers: 3,
        target: Some(small),
        ..Setup::default()
    })
    .await?;
    let us = jetstream_of(&regions.us).await?;
    us.publish("orders.big", vec![b'x'; 3_000].into())
        .await?
        .await?;
    regions.publish(100).await?;
    regions.verify().await?;
    let aside = us.get_stream("CAUSEWAY_REJECTED").await?.get_info().await?;
    ensure!(
        (aside.config.num_replicas, aside.state.messages) == (3, 1),
        "{aside:?}"
    );
    Ok(())
}

/// What breaks next is drawn from a seed; what was published meanwhile is compared in the end.
#[tokio::test]
async fn a_bad_day() -> Result<()> {
    let mut random = StdRng::seed_from_u64(1);
    let mut regions = start().await?;
    for _ in 0..15 {
        let asked = regions.other_server("us", "");
        regions.await_leader(asked, SOURCE, "").await?;
        let asked = asked.name().to_owned();
        regions
            .publish_by(&asked, random.random_range(200..3_000))
            .await?;
        let region = ["us", "eu"][random.random_range(0..2)];
        let server = format!("{region}{}", ["", "-1", "-2"][random.random_range(0..3)]);
        match random.random_range(0..5) {
            0 => regions.server(&server).restart().await?,
            1 => regions.kill_and_start_sidecar(region).await?,
            2 if region == "us" => regions.step_down("us", SOURCE).await?,
            2 => regions.step_down("eu", TARGET).await?,
            3 => {
                regions.relay.cut();
                regions.publish_by(&asked, 1_000).await?;
                regions.relay.heal();
            }
            _ => {
                for server in ["eu", "eu-1", "eu-2"] {
                    regions.server(server).kill().await?;
                }
                for server in ["eu", "eu-1", "eu-2"] {
                    regions.server(server).restart().await?;
                }
            }
        }
    }
    regions.verify().await
}

/// Of a cluster all are told to end, one after the other, as an upgrade does.
#[tokio::test]
async fn a_rolling_restart_of_both_regions() -> Result<()> {
    let mut regions = start().await?;
    regions.publish(1_000).await?;
    for region in ["us", "eu"] {
        let stream = if region == "us" { SOURCE } else { TARGET };
        for name in ["", "-1", "-2"].map(|at| format!("{region}{at}")) {
            regions.server(&name).stop().await?;
            let survivor = regions.other_server("us", &name);
            regions.await_leader(survivor, SOURCE, &name).await?;
            let survivor = survivor.name().to_owned();
            regions.publish_by(&survivor, 500).await?;
            regions.server(&name).restart().await?;
            let asked = regions.other_server(region, &name);
            regions.await_copies(asked, stream).await?;
        }
    }
    regions.verify().await?;
    let info = jetstream_of(&regions.eu).await?.get_stream(TARGET).await?;
    ensure!(info.get_info().await?.config.num_replicas == 3);
    Ok(())
}
