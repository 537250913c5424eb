//! `causeway check --live` between real servers: what it says of streams to be created is what the server
//! says when asked for them.

#![cfg(feature = "servers")]

use std::process::Command;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use causeway_tests::regions::{Setup, TwoRegions, causeway_binary, jetstream_of};

/// Two routes whose targets no server will make, and one whose target is fine.
const ROUTES: &str = r#"
[[route]]
name = "clash"
from = "eu"
to = ["us"]
stream = "ORDERS_COPY"
target = "CLASH"
subjects = ["orders.>"]
create = true
[[route]]
name = "all"
from = "eu"
to = ["us"]
stream = "BACK"
target = "ALL"
create = true
[[route]]
name = "fine"
from = "eu"
to = ["us"]
stream = "FINE"
subjects = ["fine.>"]
create = true
"#;

async fn refusal(regions: &TwoRegions, name: &str, subject: &str) -> Result<String> {
    let config = stream::Config {
        name: name.into(),
        subjects: vec![subject.into()],
        ..Default::default()
    };
    let answer = jetstream_of(&regions.us).await?.create_stream(config).await;
    Ok(answer.err().map_or_else(String::new, |why| why.to_string()))
}

#[tokio::test]
async fn a_stream_that_the_server_refuses_is_named_before_it_is_missed() -> Result<()> {
    let regions = TwoRegions::start(Setup {
        route: ROUTES.into(),
        ..Setup::default()
    })
    .await?;
    ensure!(
        refusal(&regions, "CLASH", "orders.>")
            .await?
            .contains("10065")
    );
    ensure!(refusal(&regions, "ALL", ">").await?.contains("10052"));

    let mut check = Command::new(causeway_binary()?);
    check
        .arg("check")
        .arg("--live")
        .arg("--config")
        .arg(regions.fleet());
    let output = tokio::task::spawn_blocking(move || check.output()).await??;
    let said = String::from_utf8(output.stdout)?;
    let expected = [
        "error: route.clash target CLASH in us: to be created with \"orders.>\", which overlaps with \
         subjects of ORDERS (10065)",
        "error: route.all target ALL in us: to be created with \">\": a server gives no stream every \
         subject (10052)",
    ];
    for line in expected {
        ensure!(said.contains(line), "{line:?} is not in\n{said}");
    }
    ensure!(!said.contains("error: route.fine target"), "{said}");
    ensure!(output.status.code() == Some(64), "{:?}", output.status);
    Ok(())
}
