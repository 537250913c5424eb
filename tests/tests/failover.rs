//! The region that is written to is lost, the standby takes its place, and everything finds its way home: the runbook's
//! "Failover and failback", with two routes that carry the same subjects there and back.

#![cfg(feature = "servers")]

use anyhow::{Result, ensure};
use causeway::demo::server::Server;
use causeway_tests::regions::{
    DEADLINE, SOURCE, Setup, TARGET, TwoRegions, jetstream_of, publish, read_numbers,
};
use tokio::time::timeout;

const HOME: &str = r#"
[[route]]
name = "home"
from = "eu"
to = ["us"]
stream = "ORDERS_COPY"
subjects = ["orders.>"]
target = "ORDERS"
"#;

/// Waits until a stream holds the numbers below `count`, each once, and says in which order.
async fn all(server: &Server, stream: &str, count: u64) -> Result<Vec<u64>> {
    let numbers = timeout(DEADLINE, read_numbers(server, stream, count)).await??;
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    ensure!(sorted.iter().copied().eq(0..count), "{stream}: {sorted:?}");
    let info = jetstream_of(server).await?.get_stream(stream).await?;
    let messages = info.get_info().await?.state.messages;
    ensure!(messages == count, "{stream}: {messages} for {count}");
    Ok(numbers)
}

#[tokio::test]
async fn what_was_published_at_the_standby_comes_home_and_what_had_not_left_arrives() -> Result<()>
{
    let mut regions = TwoRegions::start(Setup {
        route: HOME.into(),
        ..Setup::default()
    })
    .await?;
    regions.publish(500).await?;
    all(&regions.eu, TARGET, 500).await?;
    // Fifty more do not get out any more.
    regions.relay.cut();
    regions.publish(50).await?;
    regions.sidecar("us").kill().await?;
    regions.us.kill().await?;

    let standby = jetstream_of(&regions.eu).await?;
    publish(&standby, "orders", 550, 200).await?;

    regions.us.restart().await?;
    regions.relay.heal();
    regions.start_sidecar("us")?;
    let home = all(&regions.us, SOURCE, 750).await?;
    ensure!(home.iter().copied().eq(0..750), "{home:?}");
    let there = all(&regions.eu, TARGET, 750).await?;
    let late = (0..500).chain(550..750).chain(500..550);
    ensure!(there.iter().copied().eq(late), "{there:?}");

    // Back to where it was; a record that went round would be one too many.
    let us = jetstream_of(&regions.us).await?;
    publish(&us, "orders", 750, 100).await?;
    all(&regions.eu, TARGET, 850).await?;
    publish(&standby, "orders", 850, 1).await?;
    all(&regions.us, SOURCE, 851).await?;
    publish(&us, "orders", 851, 1).await?;
    all(&regions.eu, TARGET, 852).await?;
    Ok(())
}
