//! Links that either side dials: one connection stands, whoever made it and whatever broke.

#![cfg(feature = "servers")]

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::stream;
use causeway_tests::regions::{
    BACK, DEADLINE, Dials, Setup, TwoRegions, jetstream_of, publish, read_numbers,
};
use tokio::time::timeout;

/// Two regions whose records flow both ways, and how many have gone back.
struct Both {
    regions: TwoRegions,
    back: u64,
}

impl Both {
    async fn start(dials: Dials) -> Result<Self> {
        let setup = Setup {
            route: BACK.into(),
            dials,
            ..Setup::default()
        };
        let regions = TwoRegions::start(setup).await?;
        let source = stream::Config {
            name: "BACK".into(),
            subjects: vec!["back.>".into()],
            ..Default::default()
        };
        jetstream_of(&regions.eu)
            .await?
            .create_stream(source)
            .await?;
        Ok(Self { regions, back: 0 })
    }

    /// Records go both ways, arrive once and in order.
    async fn flow(&mut self) -> Result<()> {
        const COUNT: u64 = 200;
        self.regions.publish(COUNT).await?;
        publish(
            &jetstream_of(&self.regions.eu).await?,
            "back",
            self.back,
            COUNT,
        )
        .await?;
        self.back += COUNT;
        self.regions.verify().await?;
        let read = read_numbers(&self.regions.us, "BACK_COPY", self.back);
        let numbers = timeout(DEADLINE, read)
            .await
            .with_context(|| self.regions.logs())??;
        ensure!(
            numbers.into_iter().eq(0..self.back),
            "not once, not in order"
        );
        Ok(())
    }

    /// How often a sidecar's link came up since its start. Never twice without going down between.
    fn ups(&mut self, region: &str) -> Result<usize> {
        let log = std::fs::read_to_string(self.regions.sidecar(region).log())?;
        let mut stands = false;
        let mut ups = 0;
        for line in log.lines() {
            if line.contains("causeway runs") {
                (stands, ups) = (false, 0); // a new process writes on behind the old one
            } else if line.contains("link up") {
                ensure!(!stands, "two sessions at once:\n{log}");
                (stands, ups) = (true, ups + 1);
            } else if line.contains("link down") {
                stands = false;
            }
        }
        Ok(ups)
    }

    /// The link came up once on each side and never fell.
    fn assert_no_flapping(&mut self) -> Result<()> {
        let ups = (self.ups("us")?, self.ups("eu")?);
        ensure!(ups == (1, 1), "up {ups:?} times\n{}", self.regions.logs());
        Ok(())
    }
}

#[tokio::test]
async fn both_dial_at_once_and_one_connection_stands() -> Result<()> {
    let mut both = Both::start(Dials::Both).await?;
    for _ in 0..20 {
        both.flow().await?;
        both.assert_no_flapping()?;
        // Neither says goodbye, and both come back at the same moment.
        both.regions.sidecar("us").kill().await?;
        both.regions.sidecar("eu").kill().await?;
        both.regions.start_sidecar("us")?;
        both.regions.start_sidecar("eu")?;
    }
    both.flow().await
}

#[tokio::test]
async fn the_only_direction_that_gets_through_stands() -> Result<()> {
    for dials in [Dials::BackAlone, Dials::ForthAlone] {
        let mut both = Both::start(dials).await?;
        both.flow().await?;
        both.assert_no_flapping()?;
        for region in ["us", "eu"] {
            both.regions.kill_and_start_sidecar(region).await?;
            both.flow().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn kill_9_of_either_twenty_times() -> Result<()> {
    let mut both = Both::start(Dials::Both).await?;
    for _ in 0..10 {
        for region in ["us", "eu"] {
            both.flow().await?;
            both.regions.kill_and_start_sidecar(region).await?;
            both.flow().await?;
            both.ups("us")?;
            both.ups("eu")?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_other_direction_takes_over_when_one_is_cut() -> Result<()> {
    let mut both = Both::start(Dials::Both).await?;
    both.flow().await?;
    both.regions.relay.cut();
    both.flow().await?;
    both.regions.relay.heal();
    both.flow().await?;
    both.ups("us")?;
    both.ups("eu").map(|_| ())
}
