//! The target's server goes, comes back with less, or refuses one route what it grants another.

#![cfg(feature = "servers")]

use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream::{self, StorageType};
use causeway_tests::regions::{
    DEADLINE, Setup, TARGET, TwoRegions, jetstream_of, publish, read_numbers,
};
use tokio::time::{Instant, sleep, timeout};

/// A route that published nothing for so long looks at its target before it goes on. There is no event to wait for.
const QUIET: Duration = Duration::from_millis(1_500);

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

/// Its server's connection stands, and nothing is published that would show it.
#[tokio::test]
async fn a_target_that_is_made_anew_behind_an_idle_route_gets_all_records_again() -> Result<()> {
    for writers in ["", "writers = \"shared\""] {
        let setup = Setup {
            route: writers.into(),
            ..Setup::default()
        };
        let mut regions = TwoRegions::start(setup).await?;
        regions.publish(500).await?;
        regions.verify().await?;
        let eu = jetstream_of(&regions.eu).await?;
        let config = eu.get_stream(TARGET).await?.get_info().await?.config;
        eu.delete_stream(TARGET).await?;
        eu.create_stream(config).await?;
        sleep(QUIET).await;
        regions.publish(1).await?;
        regions.verify().await?;
    }
    Ok(())
}

/// The server's markers take sequences of the target and go again: while they are there nobody else has written, and once
/// they are gone they were no records of the route.
#[tokio::test]
async fn markers_of_ended_records_are_neither_anybodys_nor_counted() -> Result<()> {
    let ends = Duration::from_secs(1);
    let setup = Setup {
        target: Some(stream::Config {
            name: TARGET.into(),
            subjects: vec!["orders.>".into(), "pii.>".into()],
            duplicate_window: Duration::from_millis(100),
            max_age: ends,
            allow_message_ttl: true,
            allow_rollup: true,
            subject_delete_marker_ttl: Some(ends * 3),
            allow_batch_publish: true,
            ..Default::default()
        }),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    regions.publish(7).await?;
    await_state(&regions, |last, _| last == 14).await?; // a marker each
    regions.kill_and_start_sidecar("eu").await?;
    regions.publish(10).await?;
    await_state(&regions, |last, _| last >= 24).await?;
    await_state(&regions, |last, messages| last == 31 && messages == 0).await?;
    regions.kill_and_start_sidecar("eu").await?;
    regions.publish(10).await?;
    await_state(&regions, |last, _| last >= 41).await?;
    let logs = regions.logs();
    ensure!(!logs.contains("somebody else writes"), "{logs}");
    Ok(())
}

/// Waits until the target's last sequence and its messages are as wanted. A stream announces neither.
async fn await_state(regions: &TwoRegions, wanted: impl Fn(u64, u64) -> bool) -> Result<()> {
    let mut target = jetstream_of(&regions.eu).await?.get_stream(TARGET).await?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let state = &target.info().await?.state;
        if wanted(state.last_sequence, state.messages) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{state:?}\n{}", regions.logs());
        sleep(Duration::from_millis(20)).await;
    }
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
    regions
        .await_status("eu", |status| status["routes"][0]["state"] == "stalled")
        .await?;
    // Not drained within the grace period would be exit status 1.
    regions.sidecar("us").terminate()?;
    let ended = timeout(DEADLINE, regions.sidecar("us").wait()).await??;
    ensure!(ended.success(), "{ended}\n{}", regions.logs());
    regions.start_sidecar("us")?;
    regions.eu.restart().await?;
    publishing.await??;
    regions.verify().await
}

#[tokio::test]
async fn a_target_that_acknowledges_before_it_writes_is_killed_again_and_again() -> Result<()> {
    let setup = Setup {
        target: Some(stream::Config {
            name: TARGET.into(),
            subjects: vec!["orders.>".into()],
            ..Default::default()
        }),
        route: "create = { persist_mode = \"async\", duplicate_window = \"100ms\" }".into(),
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    regions.publish(1).await?;
    regions.verify().await?;
    let eu = jetstream_of(&regions.eu).await?;
    eu.delete_stream(TARGET).await?; // so that the route makes it
    let publishing = regions.publish_in_background(20_000).await?;
    for count in [1_000, 5_000, 9_000] {
        regions.await_target(count).await?;
        regions.eu.restart().await?;
    }
    publishing.await??;
    regions.verify().await?;
    let eu = jetstream_of(&regions.eu).await?;
    let config = eu.get_stream(TARGET).await?.get_info().await?.config;
    ensure!(
        config.persist_mode == Some(stream::PersistenceMode::Async),
        "{config:?}"
    );
    Ok(())
}

/// A second route, into the same server over the same connection.
const SECRETS: &str = r#"
[[class]]
name = "secret"
subjects = ["secret.>"]
regions = "any"
[[route]]
name = "secrets"
from = "us"
to = ["eu"]
stream = "SECRETS"
subjects = ["secret.>"]
target = "SECRETS_COPY"
"#;
const DENIED: &str = "deny: [\"secret.>\"]";

#[tokio::test]
async fn a_refused_subject_stalls_its_own_route_until_it_is_granted() -> Result<()> {
    let everybody = format!(
        "no_auth_user: any\nauthorization {{ users = [ {{ user: any, password: any,
         permissions: {{ publish: {{ {DENIED} }} }} }} ] }}"
    );
    let setup = Setup {
        route: SECRETS.into(),
        target_server: vec![everybody],
        ..Setup::default()
    };
    let mut regions = TwoRegions::start(setup).await?;
    let us = jetstream_of(&regions.us).await?;
    let stream = |name: &str, subjects: &[&str]| stream::Config {
        name: name.into(),
        subjects: subjects.iter().map(ToString::to_string).collect(),
        allow_batch_publish: true,
        ..Default::default()
    };
    us.create_stream(stream("SECRETS", &["secret.>"])).await?;
    // Its first subject is granted, so that the records are refused one by one.
    let copy = stream("SECRETS_COPY", &["plain.>", "secret.>"]);
    jetstream_of(&regions.eu).await?.create_stream(copy).await?;
    publish(&us, "secret", 0, 2_000).await?;
    // Begun anew, the route has many to publish at once, and as many are refused.
    regions.kill_and_start_sidecar("eu").await?;
    regions
        .await_status("eu", |status| {
            let routes = status["routes"].as_array().into_iter().flatten();
            let reasons = routes.filter_map(|route| route["reason"].as_str());
            reasons.filter(|it| it.contains("secret.")).count() == 1
        })
        .await?;
    for _ in 0..2 {
        regions.publish(10).await?;
        timeout(Duration::from_secs(30), regions.verify()).await??;
    }

    let config = regions.eu.log().with_extension("conf");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text.replace(DENIED, "allow: [\">\"]"))?;
    regions.eu.process().hang_up()?;
    let read = timeout(DEADLINE, read_numbers(&regions.eu, "SECRETS_COPY", 2_000)).await??;
    ensure!(read.iter().copied().eq(0..2_000), "{read:?}");
    regions.publish(10).await?;
    regions.verify().await
}
