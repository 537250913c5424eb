//! What happens to a source stream while a sidecar reads it, link and sidecars untouched: it is made
//! anew, or its server restored.

#![cfg(feature = "servers")]

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use causeway_tests::regions::{SOURCE, Setup, TwoRegions, jetstream_of};

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

    regions.us.stop().await?;
    std::fs::remove_dir_all(&live)?;
    copy(&kept, &live)?;
    regions.us.restart().await?;
    regions.publish(400).await?;
    regions.verify().await
}
