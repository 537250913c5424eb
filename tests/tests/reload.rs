//! The fleet file of a running pair is read again: what can change does, on the connection that stands,
//! and a file with errors changes nothing.

#![cfg(feature = "servers")]

use std::process::Command;

use anyhow::{Result, ensure};
use causeway::certs::generate;
use causeway_proto::id::{FleetName, RegionId};
use causeway_tests::regions::{Setup, TwoRegions, causeway_binary};
use serde_json::{Value, json};

/// What a link keeps as long as its session does.
fn session(status: &Value) -> Value {
    let link = &status["links"][0];
    json!([
        link["state"],
        link["since"],
        link["address"],
        link["reconnects"]
    ])
}

fn rate(status: &Value) -> &Value {
    &status["links"][0]["rate"]["bits_per_second"]
}

async fn running() -> Result<TwoRegions> {
    let mut regions = TwoRegions::start(Setup::default()).await?;
    regions.publish(500).await?;
    regions.verify().await?;
    for region in ["us", "eu"] {
        regions
            .await_status(region, |status| status["links"][0]["state"] == "up")
            .await?;
    }
    Ok(regions)
}

#[tokio::test]
async fn a_rate_changes_while_records_flow_and_the_session_stays() -> Result<()> {
    let mut regions = running().await?;
    let before = [regions.status("us").await?, regions.status("eu").await?];
    ensure!(*rate(&before[0]) == 200_000_000, "{}", before[0]);
    let publishing = regions.publish_in_background(20_000).await?;
    let edits = [
        (
            "rate = \"200 Mbit/s\"",
            "rate = \"40 Mbit/s\"\nmode = \"adaptive\"",
        ),
        (
            "name = \"orders\"",
            "name = \"orders\"\npriority = \"bulk\"",
        ),
        (
            "state = \"state-us\"",
            "state = \"state-us\"\nrate = \"30 Mbit/s\"",
        ),
        (
            "[\"orders.>\", \"pii.>\"]\n",
            "[\"orders.>\", \"pii.>\", \"more.>\"]\n",
        ),
    ];
    for (old, new) in edits {
        regions.edit_fleet(old, new)?;
    }
    let (status, answer) = regions.reload("us").await?;
    ensure!(status == 200, "{status}: {answer}");
    let live = [
        "link[0].mode",
        "link[0].rate",
        "region.us.rate",
        "route.orders.priority",
    ];
    ensure!(answer["outcome"] == "applied", "{answer}");
    ensure!(answer["changed"] == json!(live), "{answer}");
    ensure!(
        answer["needs_restart"] == json!(["route.orders.subjects"]),
        "{answer}"
    );
    // The other side by a signal, as systemd would.
    regions.sidecar("eu").hang_up()?;
    let eu = regions
        .await_status("eu", |status| status["reload"]["applied"] == 1)
        .await?;
    publishing.await??;
    regions.verify().await?;
    let us = regions.status("us").await?;
    for (before, after) in before.iter().zip([&us, &eu]) {
        ensure!(*rate(after) == 40_000_000, "{after}");
        ensure!(after["links"][0]["rate"]["mode"] == "adaptive", "{after}");
        ensure!(session(before) == session(after), "{before}\n{after}");
    }
    let restart = &us["reload"]["needs_restart"];
    ensure!(*restart == json!(["route.orders.subjects"]), "{us}");
    // What was taken over is not told again.
    let (_, answer) = regions.reload("us").await?;
    ensure!(answer["changed"] == json!([]), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_names_every_error() -> Result<()> {
    let mut regions = running().await?;
    let before = regions.status("us").await?;
    regions.edit_fleet("rate = \"200 Mbit/s\"", "rate = \"200 MB/s\"")?;
    regions.edit_fleet("stream = \"ORDERS\"", "streem = \"ORDERS\"")?;
    let (status, answer) = regions.reload("us").await?;
    ensure!(status == 422 && answer["outcome"] == "refused", "{answer}");
    let errors = answer["errors"].to_string();
    for key in ["link[0].rate", "route.orders.streem", "route.orders.stream"] {
        ensure!(errors.contains(key), "{key}: {errors}");
        ensure!(regions.logs().contains(key), "{key}: {}", regions.logs());
    }
    let after = regions.status("us").await?;
    ensure!(*rate(&after) == 200_000_000, "{after}");
    ensure!(after["reload"]["refused"] == 1, "{after}");
    ensure!(session(&before) == session(&after), "{before}\n{after}");
    let (_, metrics) = regions.ask("us", "GET /metrics").await?;
    ensure!(metrics.contains("causeway_reload_ok 0"), "{metrics}");
    ensure!(metrics.contains("causeway_reloads_total{outcome=\"refused\"} 1"));
    // Mended, by the command line: nothing differs from what runs.
    regions.edit_fleet("rate = \"200 MB/s\"", "rate = \"200 Mbit/s\"")?;
    regions.edit_fleet("streem = \"ORDERS\"", "stream = \"ORDERS\"")?;
    let mut command = Command::new(causeway_binary()?);
    command.args(["reload", "--region", "us", "--config"]);
    let output = command.arg(regions.fleet()).output()?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(output.stdout.ends_with(b"nothing changed\n"), "{output:?}");
    let (_, metrics) = regions.ask("us", "GET /metrics").await?;
    ensure!(metrics.contains("causeway_reload_ok 1"), "{metrics}");
    regions.publish(500).await?;
    regions.verify().await
}

#[tokio::test]
async fn a_cap_holds_records_back_until_it_is_raised_and_survives_kill_9() -> Result<()> {
    let mut regions = running().await?;
    let cap = |bytes: &str| format!("monthly_cap = {{ bytes = \"{bytes}\" }}");
    let slow = format!("rate = \"256 kbit/s\"\n{}", cap("40 kB"));
    regions.edit_fleet("rate = \"200 Mbit/s\"", &slow)?;
    regions.reload("us").await?;
    // At that rate they take half a minute, the cap a second or two.
    regions.publish(60_000).await?;
    let reached = |status: &Value| status["links"][0]["rate"]["cap"]["state"] == "reached";
    let held = regions.await_status("us", reached).await?;
    let link = &held["links"][0];
    ensure!(link["state"] == "up", "{link}");
    ensure!(link["rate"]["reason"] == "monthly_cap", "{link}");
    let lag = &held["routes"][0]["lag_records"];
    ensure!(lag.as_u64().is_some_and(|lag| lag > 1_000), "{held}");
    let (_, metrics) = regions.ask("us", "GET /metrics").await?;
    ensure!(metrics.contains("causeway_link_cap_reached{peer=\"eu\"} 1"));
    // Nothing can leave, so there is nothing to wait for: not drained in time would be exit status 1.
    regions.sidecar("us").terminate()?;
    let status = regions.sidecar("us").wait().await?;
    ensure!(status.success(), "{status}\n{}", regions.logs());
    regions.start_sidecar("us")?;
    regions.await_status("us", reached).await?;
    // A command is answered once all before it is on disk, the count with it. (Without one, 10 s may be lost.)
    let (status, answer) = regions.ask("us", "POST /routes/orders/resume").await?;
    ensure!(status == 200, "{answer}");
    // A new process is held from its first look on.
    regions.kill_and_start_sidecar("us").await?;
    let again = regions
        .await_status("us", |status| status["links"][0]["state"] == "up")
        .await?;
    ensure!(reached(&again), "{again}");
    regions.edit_fleet(&cap("40 kB"), &cap("1 TB"))?;
    regions.edit_fleet("rate = \"256 kbit/s\"", "rate = \"200 Mbit/s\"")?;
    let (status, answer) = regions.reload("us").await?;
    ensure!(status == 200, "{answer}");
    let live = ["link[0].monthly_cap", "link[0].rate"];
    ensure!(answer["changed"] == json!(live), "{answer}");
    regions.verify().await
}

#[tokio::test]
async fn a_schedule_that_is_reloaded_holds_at_once() -> Result<()> {
    let regions = running().await?;
    let before = regions.status("us").await?;
    // The whole day, so that it does not matter when the test runs.
    let windows = "rate = \"200 Mbit/s\"\ntimezone = \"Europe/Berlin\"\n\
                   schedule = [{ from = \"00:00\", to = \"24:00\", rate = \"7 Mbit/s\" }]";
    regions.edit_fleet("rate = \"200 Mbit/s\"", windows)?;
    regions.reload("us").await?;
    let after = regions.status("us").await?;
    ensure!(*rate(&after) == 7_000_000, "{after}");
    let told = &after["links"][0]["rate"];
    ensure!(
        told["reason"] == "schedule" && told["window"] == 0,
        "{told}"
    );
    ensure!(session(&before) == session(&after), "{before}\n{after}");
    Ok(())
}

#[tokio::test]
async fn renewed_certificates_are_taken_over_and_the_session_stays() -> Result<()> {
    let mut regions = running().await?;
    let before = regions.status("us").await?;
    // Another authority, so that old and new cannot be mistaken for each other.
    std::fs::remove_dir_all(regions.pki())?;
    let names = [RegionId::new("us")?, RegionId::new("eu")?];
    generate(&FleetName::new("test")?, &names, &regions.pki())?;
    let (status, answer) = regions.reload("us").await?;
    ensure!(status == 200, "{answer}");
    // Unless the machine was so slow that the sidecar had read them by itself.
    let by_itself =
        answer["outcome"] == "unchanged" && regions.logs().contains("certificates renewed");
    let changed = answer["changed"] == json!(["region.us.tls"]);
    ensure!(changed || by_itself, "{answer}\n{}", regions.logs());
    let after = regions.status("us").await?;
    ensure!(session(&before) == session(&after), "{before}\n{after}");
    // A new process knows nothing but the new ones.
    regions.kill_and_start_sidecar("eu").await?;
    regions.publish(500).await?;
    regions.verify().await?;
    // A set that is half written.
    std::fs::write(regions.pki().join("us.key"), "")?;
    let (status, answer) = regions.reload("us").await?;
    ensure!(status == 200, "the fleet file is sound: {answer}");
    ensure!(
        answer["warnings"].to_string().contains("us.key"),
        "{answer}"
    );
    let (_, metrics) = regions.ask("us", "GET /metrics").await?;
    ensure!(metrics.contains("causeway_certificates_failing 1"));
    ensure!(metrics.contains("causeway_reload_ok 1"));
    let status = regions.status("us").await?;
    let problem = status["certificates_problem"].as_str();
    ensure!(problem.is_some_and(|it| it.contains("us.key")), "{status}");
    regions.publish(500).await?;
    regions.verify().await
}
