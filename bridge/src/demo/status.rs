//! Reads a sidecar's admin address, leniently: what is missing or of another shape is shown as unknown.
//!
//! The one place of the demo that knows the shape of `/status`. Only the screen and the moment of the kill
//! depend on it; the verdict does not.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What a sidecar says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SidecarStatus {
    pub links: Vec<LinkStatus>,
    pub routes: Vec<RouteStatus>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LinkStatus {
    pub peer: String,
    pub state: String,
    pub reason: Option<String>,
    pub rtt_ms: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RouteStatus {
    pub name: String,
    pub is_outbound: bool,
    pub state: String,
    pub reason: Option<String>,
    pub lag_seconds: Option<f64>,
    pub in_flight_records: Option<u64>,
    pub denied: Option<u64>,
}

impl SidecarStatus {
    /// The route of that name as seen from this end.
    pub(crate) fn route(&self, name: &str, is_outbound: bool) -> Option<&RouteStatus> {
        self.routes
            .iter()
            .find(|it| it.name == name && it.is_outbound == is_outbound)
    }

    fn from_json(json: &Value) -> Self {
        let list = |key: &str| json[key].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            links: list("links").iter().map(LinkStatus::from_json).collect(),
            routes: list("routes").iter().map(RouteStatus::from_json).collect(),
        }
    }
}

impl LinkStatus {
    fn from_json(json: &Value) -> Self {
        Self {
            peer: text(&json["peer"]).unwrap_or_default(),
            state: text(&json["state"]).unwrap_or_else(unknown),
            reason: text(&json["reason"]),
            rtt_ms: json["rtt_ms"].as_f64(),
        }
    }
}

impl RouteStatus {
    fn from_json(json: &Value) -> Self {
        Self {
            name: text(&json["name"]).unwrap_or_default(),
            is_outbound: json["direction"] == "out",
            state: text(&json["state"]).unwrap_or_else(unknown),
            reason: text(&json["reason"]),
            lag_seconds: json["lag_seconds"].as_f64(),
            in_flight_records: json["in_flight_records"].as_u64(),
            denied: json["outcomes"]["denied"].as_u64(),
        }
    }
}

fn text(json: &Value) -> Option<String> {
    json.as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What the sidecar says now; nothing while it does not answer.
pub(crate) async fn status(admin: SocketAddr) -> Option<SidecarStatus> {
    let (code, body) = get(admin, "/status").await.ok()?;
    let json = serde_json::from_slice(&body).ok()?;
    (code == 200).then(|| SidecarStatus::from_json(&json))
}

/// Whether the sidecar says that it is ready.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    get(admin, "/readyz")
        .await
        .is_ok_and(|(code, _)| code == 200)
}

/// A GET without a client library: HTTP/1.0, so that the answer is plain and ends with the connection.
async fn get(admin: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let mut stream = TcpStream::connect(admin).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(ANSWER_WITHIN, exchange).await??;
    parse_answer(&answer).ok_or_else(|| io::Error::other("not an HTTP answer"))
}

fn parse_answer(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let code = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some((code, answer[end + 4..].to_vec()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_split_into_code_and_body() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(parse_answer(answer), Some((503, b"no".to_vec())));
        assert_eq!(parse_answer(b"SSH-2.0\r\n\r\n"), None);
    }

    #[test]
    fn what_is_there_is_read_and_what_is_missing_is_unknown() {
        let status = SidecarStatus::from_json(&json!({
            "region": "eu",
            "links": [{"peer": "us", "state": "up", "rtt_ms": 81.5}],
            "routes": [
                {"name": "r", "direction": "in", "state": "flowing", "in_flight_records": 12},
                {"name": "r", "direction": "out", "outcomes": {"denied": 3}, "reason": ""},
            ],
        }));
        assert_eq!(status.links[0].rtt_ms, Some(81.5));
        assert_eq!(
            status.route("r", false).unwrap().in_flight_records,
            Some(12)
        );
        let out = status.route("r", true).unwrap();
        assert_eq!(
            (out.denied, out.state.as_str(), &out.reason),
            (Some(3), "unknown", &None)
        );
        assert_eq!(
            SidecarStatus::from_json(&json!(7)),
            SidecarStatus::default()
        );
    }
}
