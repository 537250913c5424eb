//! One question to a running sidecar, through its admin address.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(15);
/// A status of a thousand routes is far below.
const ANSWER_LEN_MAX: u64 = 16 << 20;

/// Which sidecar to talk to.
#[derive(Debug, Args)]
pub struct SidecarArgs {
    /// Its admin address, such as 127.0.0.1:8080
    #[arg(long, global = true, conflicts_with_all = ["config", "region"])]
    pub admin: Option<String>,
    /// The fleet file that names it
    #[arg(long, global = true, requires = "region")]
    pub config: Option<PathBuf>,
    /// Its region
    #[arg(long, global = true, requires = "config")]
    pub region: Option<String>,
}

/// The admin address. `None`: the fleet file does not say it, and that was printed.
pub(super) fn address(args: &SidecarArgs) -> anyhow::Result<Option<String>> {
    if let Some(admin) = &args.admin {
        return Ok(Some(admin.clone()));
    }
    let (Some(config), Some(region)) = (&args.config, &args.region) else {
        bail!("say which sidecar: --admin ADDRESS, or --config FILE --region NAME");
    };
    let Some(loaded) = super::read(config) else {
        return Ok(None);
    };
    let Some(region) = super::known_region(&loaded, "--region", region) else {
        return Ok(None);
    };
    let admin = loaded.plan.region(&region).map(|region| region.admin);
    Ok(admin.map(|admin| admin.to_string()))
}

/// Asks, and waits for the status and the answer.
pub(super) async fn ask(
    address: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(u16, Value)> {
    tokio::time::timeout(TIMEOUT, request(address, method, path, body))
        .await
        .context("the sidecar does not answer")?
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
