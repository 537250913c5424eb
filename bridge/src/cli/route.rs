//! `causeway route`: the routes of a running sidecar, through its admin address.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::sidecar::{SidecarArgs, address, ask};

/// Which sidecar, and what to do.
#[derive(Debug, Args)]
pub struct RouteArgs {
    #[command(flatten)]
    sidecar: SidecarArgs,
    #[command(subcommand)]
    command: RouteCommand,
}

#[derive(Debug, Subcommand)]
enum RouteCommand {
    /// Every route with its state, watermark and lag
    List,
    /// Stop reading a route; records wait in the source stream
    Pause {
        /// The route
        name: String,
    },
    /// Go on reading
    Resume {
        /// The route
        name: String,
    },
    /// Read from another place: first, new, a sequence, or a time
    Seek {
        /// The route
        name: String,
        /// Where to: first, new, 17, 2026-03-01T00:00:00Z
        to: String,
        /// Only the leg towards this region
        #[arg(long)]
        peer: Option<String>,
    },
}

pub(super) fn run(args: &RouteArgs) -> anyhow::Result<ExitCode> {
    let Some(address) = address(&args.sidecar)? else {
        return Ok(super::EXIT_USAGE.into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let ask = |method: &'static str, path: String, body: Option<Value>| {
            let address = &address;
            async move { ask(address, method, &path, body).await }
        };
        let (status, answer) = match &args.command {
            RouteCommand::List => {
                let (_, answer) = ask("GET", "/status".into(), None).await?;
                print_routes(&answer);
                return Ok(ExitCode::SUCCESS);
            }
            RouteCommand::Pause { name } => {
                ask("POST", format!("/routes/{name}/pause"), None).await?
            }
            RouteCommand::Resume { name } => {
                ask("POST", format!("/routes/{name}/resume"), None).await?
            }
            RouteCommand::Seek { name, to, peer } => {
                let body = json!({ "to": to, "peer": peer });
                ask("POST", format!("/routes/{name}/seek"), Some(body)).await?
            }
        };
        println!(
            "{}",
            answer
                .as_str()
                .map_or_else(|| answer.to_string(), str::to_owned)
        );
        Ok(if status == 200 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

fn print_routes(status: &Value) {
    println!(
        "{:<20} {:<4} {:<10} {:<18} {:>12} {:>10} {:>8}  reason",
        "route", "dir", "peer", "state", "watermark", "behind", "seconds"
    );
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.1}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    };
    for route in status["routes"].as_array().into_iter().flatten() {
        println!(
            "{:<20} {:<4} {:<10} {:<18} {:>12} {:>10} {:>8}  {}",
            text(&route["name"]),
            text(&route["direction"]),
            text(&route["peer"]),
            text(&route["state"]),
            text(&route["watermark"]),
            text(&route["lag_records"]),
            text(&route["lag_seconds"]),
            text(&route["reason"]),
        );
    }
}
