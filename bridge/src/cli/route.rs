//! `causeway route`: the routes of a running sidecar, through its admin address.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::SidecarArgs;

const TIMEOUT: Duration = Duration::from_secs(15);
/// A status of a thousand routes is far below.
const ANSWER_LEN_MAX: u64 = 16 << 20;

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
        let ask = |method: &'static str, path: String, body: Option<Value>| async move {
            tokio::time::timeout(TIMEOUT, request(&address, method, &path, body))
                .await
                .context("the sidecar does not answer")?
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

fn address(args: &SidecarArgs) -> anyhow::Result<Option<String>> {
    if let Some(admin) = &args.admin {
        return Ok(Some(admin.clone()));
    }
    let (Some(config), Some(region)) = (&args.config, &args.region) else {
        bail!("say which sidecar: --admin ADDRESS, or --config FILE --region NAME");
    };
    let Some(loaded) = super::read(config) else {
        return Ok(None);
    };
    let Some(region) = super::known_region(&loaded, region) else {
        return Ok(None);
    };
    let admin: Option<SocketAddr> = loaded.plan.region(&region).map(|region| region.admin);
    Ok(admin.map(|admin| admin.to_string()))
}

/// One HTTP/1.1 exchange; the sidecar closes the connection behind its answer.
async fn request(
    address: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("connect to the sidecar's admin address {address}"))?;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LEN_MAX).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the answer is no HTTP")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.context("the answer has no HTTP status")?;
    let value =
        serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.trim().to_owned()));
    Ok((status, value))
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
