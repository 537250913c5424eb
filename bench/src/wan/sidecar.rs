//! What a sidecar says about itself, from its `/status`.

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::host::Host;

/// A sidecar's `/status`.
#[derive(Debug)]
pub(crate) struct Status(Value);

impl Status {
    /// Asks the sidecar on that host whose admin port it is.
    pub(crate) async fn ask(host: &Host, port: u16) -> Result<Self> {
        host.run(move || async move {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
            let request = "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            socket.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await?;
            let text = String::from_utf8(answer)?;
            let (_, body) = text.split_once("\r\n\r\n").context("an HTTP answer")?;
            Ok(Self(serde_json::from_str(body).context("/status is JSON")?))
        })
        .await
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0[name].as_array().into_iter().flatten()
    }

    /// How often links were made anew.
    pub(crate) fn reconnects(&self) -> u64 {
        let of = |link: &Value| link["reconnects"].as_u64().unwrap_or_default();
        self.list("links").map(of).sum()
    }

    /// Links that are up.
    pub(crate) fn links_up(&self) -> usize {
        self.list("links").filter(|it| it["state"] == "up").count()
    }

    /// Routes that replicate, be there anything to replicate or not.
    pub(crate) fn routes_flowing(&self) -> usize {
        self.list("routes")
            .filter(|it| it["state"] == "live" || it["state"] == "catching_up")
            .count()
    }

    /// Payload and wire bytes (batches, without what QUIC adds) of the routes that read that source stream, or of all.
    pub(crate) fn bytes(&self, stream: Option<&str>) -> (u64, u64) {
        let of = |route: &Value, name: &str| route[name].as_u64().unwrap_or_default();
        self.list("routes")
            .filter(|it| stream.is_none_or(|stream| it["stream"] == stream))
            .fold((0, 0), |(payload, wire), it| {
                (
                    payload + of(it, "payload_bytes"),
                    wire + of(it, "wire_bytes"),
                )
            })
    }
}
