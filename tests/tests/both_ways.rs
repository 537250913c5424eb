//! Records go both ways over one link, and one side's process, or both, are told to end in full flow.

#![cfg(feature = "servers")]

use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use causeway_tests::regions::{
    BACK, DEADLINE, Setup, TARGET, TwoRegions, jetstream_of, publish, read_numbers,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const COUNT: u64 = 60_000;

struct BothWays {
    regions: TwoRegions,
    publishing: [JoinHandle<Result<()>>; 2],
}

impl BothWays {
    /// Both ways are in full flow.
    async fn start() -> Result<Self> {
        let setup = Setup {
            route: BACK.into(),
            // What leaves takes two round trips to be settled, while what arrives goes on arriving.
            wan: (Duration::from_millis(100), 0),
            ..Setup::default()
        };
        let mut regions = TwoRegions::start(setup).await?;
        let eu = jetstream_of(&regions.eu).await?;
        eu.create_stream(stream::Config {
            name: "BACK".into(),
            subjects: vec!["back.>".into()],
            ..Default::default()
        })
        .await?;
        let forth = regions.publish_in_background(COUNT).await?;
        let back = tokio::spawn(async move { publish(&eu, "back", 0, COUNT).await });
        let reading = async {
            read_numbers(&regions.eu, TARGET, 1_000).await?;
            read_numbers(&regions.us, "BACK_COPY", 1_000).await
        };
        timeout(DEADLINE, reading).await??;
        Ok(Self {
            regions,
            publishing: [forth, back],
        })
    }

    async fn await_end(&mut self, region: &str) -> Result<()> {
        let status = timeout(DEADLINE, self.regions.sidecar(region).wait()).await??;
        ensure!(
            status.success(),
            "{region}: {status}\n{}",
            self.regions.logs()
        );
        Ok(())
    }

    /// All arrived both ways, and no driver was taken for a stuck one.
    async fn verify(self) -> Result<()> {
        for publishing in self.publishing {
            publishing.await??;
        }
        self.regions.verify().await?;
        let back = timeout(DEADLINE, read_numbers(&self.regions.us, "BACK_COPY", COUNT)).await??;
        ensure!(back.iter().copied().eq(0..COUNT), "not each once in order");
        for region in ["us", "eu"] {
            let log = self.regions.fleet();
            let log = std::fs::read_to_string(log.with_file_name(format!("{region}-sidecar.log")))?;
            ensure!(!log.contains("does not take its events"), "{region}: {log}");
        }
        Ok(())
    }
}

#[tokio::test]
async fn sigterm_of_one_side_ends_no_session_early() -> Result<()> {
    let mut pair = BothWays::start().await?;
    for region in ["eu", "us"] {
        pair.regions.sidecar(region).terminate()?;
        pair.await_end(region).await?;
        pair.regions.start_sidecar(region)?;
    }
    pair.verify().await
}

/// Neither waits for what the other one does not take any more.
#[tokio::test]
async fn sigterm_of_both_sides_drains_both() -> Result<()> {
    let mut pair = BothWays::start().await?;
    for region in ["eu", "us"] {
        pair.regions.sidecar(region).terminate()?;
    }
    for region in ["eu", "us"] {
        pair.await_end(region).await?;
        pair.regions.start_sidecar(region)?;
    }
    pair.verify().await
}
