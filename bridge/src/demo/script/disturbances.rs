//! What is done to the fleet while it runs: the link is cut, and a sidecar is killed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

use super::{STALLED_AFTER, Story};
use crate::demo::fleet::{LISTENER, ROUTES};
use crate::demo::status::status;
use crate::demo::text::grouped;

/// Published at once when the sidecar is to die, so that much is under way.
const BURST_RECORDS: u64 = 20_000;
const CUT_MAX: Duration = Duration::from_secs(5);
const DEAD_MAX: Duration = Duration::from_secs(2);

impl Story {
    pub(super) async fn cut_link(&mut self) -> Result<()> {
        let cut = CUT_MAX.min(self.length / 5);
        let text = format!("cutting the link for {} s", cut.as_secs());
        self.doing(&text).await;
        self.event(&text).await;
        self.recovery.begin();
        self.world.relay.cut();
        self.watch_until(self.began.elapsed() + cut).await?;
        self.world.relay.heal();
        self.disturbance_over("the cut");
        self.event("the link is whole again").await;
        self.doing("recovering from the cut, with live events on top")
            .await;
        Ok(())
    }

    /// Under full flow, at a moment when the sidecar's publishes are not all acknowledged.
    pub(super) async fn kill_sidecar(&mut self) -> Result<()> {
        let burst = grouped(BURST_RECORDS);
        self.doing(&format!(
            "a burst of {burst} events, and kill -9 in the middle of it"
        ))
        .await;
        self.recovery.begin();
        let before = self.world.stored(&ROUTES[0]).await;
        let load = self.loads.first().context("every route has its load")?;
        load.control.burst(BURST_RECORDS).await?;
        let in_flight = self.wait_until_in_flight(before).await?;
        self.world.listening_sidecar()?.kill().await?;
        let moment = match in_flight {
            Some(count) => format!("with {} records in flight", grouped(count)),
            None => "in the middle of the burst".to_owned(),
        };
        self.event(&format!("kill -9 of the {LISTENER} sidecar {moment}"))
            .await;
        self.doing(&format!("the {LISTENER} sidecar is dead")).await;
        sleep(DEAD_MAX.min(self.length / 10)).await;
        let sidecar = self.world.listening_sidecar()?;
        sidecar.restart()?;
        self.disturbance_over("the kill");
        self.event(&format!("the {LISTENER} sidecar is started again"))
            .await;
        self.world.listening_sidecar()?.ready().await
    }

    /// Waits until a part of the burst has arrived and more is in the sidecar, not yet acknowledged by its server.
    /// Gives up when most has arrived.
    async fn wait_until_in_flight(&mut self, before: u64) -> Result<Option<u64>> {
        let admin = self.world.listener.plan.admin;
        let deadline = Instant::now() + STALLED_AFTER;
        loop {
            let arrived = self.world.stored(&ROUTES[0]).await.saturating_sub(before);
            if arrived >= BURST_RECORDS * 3 / 4 || Instant::now() > deadline {
                return Ok(None);
            }
            if arrived >= BURST_RECORDS / 10 {
                let status = status(admin).await.unwrap_or_default();
                let route = status.route(ROUTES[0].name, false);
                let in_flight = route
                    .and_then(|it| it.in_flight_records)
                    .filter(|it| *it > 0);
                if in_flight.is_some() {
                    return Ok(in_flight);
                }
            }
            self.check()?;
        }
    }
}
