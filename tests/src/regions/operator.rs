//! What an operator does to a fleet that runs: changes its file, sends signals, asks admin addresses.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::{DEADLINE, TwoRegions, causeway_binary};

impl TwoRegions {
    /// Replaces the one place of the fleet file where `old` stands.
    pub fn edit_fleet(&self, old: &str, new: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.fleet())?;
        ensure!(text.matches(old).count() == 1, "{old:?} in\n{text}");
        std::fs::write(self.fleet(), text.replace(old, new))?;
        Ok(())
    }

    /// What a region's sidecar answers to a request without a body.
    pub async fn ask(&self, region: &str, request: &str) -> Result<(u16, String)> {
        let port = self.admin[usize::from(region == "eu")];
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let head = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("an HTTP answer has a head")?;
        let status = head.split(' ').nth(1).context("and a status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// Asks a sidecar to read its fleet file again.
    pub async fn reload(&self, region: &str) -> Result<(u16, Value)> {
        let (status, body) = self.ask(region, "POST /reload").await?;
        Ok((status, serde_json::from_str(&body)?))
    }

    /// What `causeway route` says, asked with these arguments.
    pub async fn route(&self, region: &str, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(causeway_binary()?);
        command.arg("route").arg("--config").arg(self.fleet());
        command.args(["--region", region]).args(args);
        Ok(spawn_blocking(move || command.output()).await??)
    }

    /// Waits until a sidecar's status is as wanted. Its address says no more than how things stand, so it
    /// is asked again.
    pub async fn await_status(
        &self,
        region: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status(region).await;
            if let Ok(status) = &status
                && wanted(status)
            {
                return Ok(status.clone());
            }
            ensure!(Instant::now() < deadline, "{status:?}\n{}", self.logs());
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}
