//! What the runbook says that a sidecar's NATS user needs is enough, and it is all there is.

#![cfg(feature = "servers")]

use anyhow::{Result, ensure};
use causeway_tests::regions::{Setup, TwoRegions, jetstream_of};

/// Servers with a user `sidecar` who may do what `deploy/` says, but for `without`, and where everybody else may do all.
fn setup(without: &str) -> Setup {
    let permissions = include_str!("../../deploy/nats-permissions.conf");
    let permissions: Vec<_> = permissions
        .lines()
        .filter(|line| without.is_empty() || !line.contains(without))
        .collect();
    let users = "authorization {\n users = [\n  { user: sidecar, password: s3cret, permissions: $CAUSEWAY }\n  \
                 { user: anybody, password: a }\n ]\n}\nno_auth_user: anybody";
    let lines = vec![permissions.join("\n"), users.to_owned()];
    Setup {
        source_server: lines.clone(),
        target_server: lines,
        login: "sidecar:s3cret@",
        ..Setup::default()
    }
}

#[tokio::test]
async fn the_permissions_of_the_runbook_are_enough() -> Result<()> {
    let mut regions = TwoRegions::start(setup("")).await?;
    regions.publish(500).await?;
    regions.verify().await?;
    // Finding out what is there, without a store; and a record that the target refuses.
    for region in ["us", "eu"] {
        regions.sidecar(region).kill().await?;
        std::fs::remove_dir_all(regions.state(region))?;
        regions.start_sidecar(region)?;
    }
    let us = jetstream_of(&regions.us).await?;
    let largest = vec![b'x'; (1 << 20) - 20];
    us.publish("orders.big", largest.into()).await?.await?;
    regions.publish(500).await?;
    regions.verify().await?;
    us.get_stream("CAUSEWAY_REJECTED").await?;
    let logs = regions.logs();
    ensure!(!logs.contains("Permissions Violation"), "{logs}");
    Ok(())
}

#[tokio::test]
async fn a_permission_that_is_missing_is_named() -> Result<()> {
    let mut regions = TwoRegions::start(setup("\"orders.>\"")).await?;
    regions.publish(10).await?;
    let named = |status: &serde_json::Value| {
        let route = &status["routes"][0];
        route["state"] == "stalled" && route["reason"].to_string().contains("no_permission")
    };
    regions.await_status("us", named).await?;
    Ok(())
}
