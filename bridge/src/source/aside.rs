//! Records that a target refused, kept in a stream of their own region.

use causeway_proto::frame::Rejected;
use causeway_proto::id::RouteName;
use serde_json::json;

use super::Finder;
use crate::control::ControlError;

/// Where rejected records are kept, in their own region.
const REJECTED_STREAM: &str = "CAUSEWAY_REJECTED";
const HEADERS: &str = "Causeway-Rejected-Headers";
const PAYLOAD_LENGTH: &str = "Causeway-Rejected-Payload-Length";
/// Characters of a header that repeats somebody else's text.
const TEXT_LEN_MAX: usize = 2048;

/// Headers of a message, in order.
type Lines = Vec<(&'static str, String)>;

impl Finder {
    /// Copies a record that the target refused into [`REJECTED_STREAM`] of this region. The message
    /// is the original payload; what it was and why it is here stand in headers.
    pub async fn keep_aside(&self, route: &RouteName, rejected: &Rejected) -> Result<(), String> {
        self.try_keep_aside(route, rejected)
            .await
            .map_err(|why| why.to_string())
    }

    async fn try_keep_aside(
        &self,
        route: &RouteName,
        rejected: &Rejected,
    ) -> Result<(), ControlError> {
        let seq = rejected.at.seq.0;
        let Some(mut record) = self.control.record(&self.stream, seq).await? else {
            return Ok(()); // it left the source meanwhile: there is nothing to keep
        };
        self.ensure_stream().await?;
        let id = format!("{route}.{seq}.{}", rejected.at.stored_at);
        let mut lines = vec![
            ("Causeway-Rejected-Stream", self.stream.clone()),
            ("Causeway-Rejected-Sequence", seq.to_string()),
            ("Causeway-Rejected-Subject", record.subject.clone()),
            ("Causeway-Rejected-Code", rejected.code.to_string()),
            ("Causeway-Rejected-Reason", plain(&rejected.reason)),
            (HEADERS, plain(&String::from_utf8_lossy(&record.headers))),
            ("Nats-Msg-Id", id),
        ];
        fit(
            &mut lines,
            &mut record.payload,
            self.control.payload_len_max(),
        );
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in lines {
            headers.insert(name, value.as_str());
        }
        let subject = format!("{REJECTED_STREAM}.{route}");
        self.control.store(subject, headers, record.payload).await
    }

    /// Makes the stream where it is missing, with as many copies as the stream has that the records come from.
    async fn ensure_stream(&self) -> Result<(), ControlError> {
        match self.control.stream(REJECTED_STREAM).await {
            Err(why) if why.is_missing() => {
                let source = self.control.stream(&self.stream).await?;
                let config = json!({
                    "name": REJECTED_STREAM,
                    "description": "Records that a target refused, kept by Causeway",
                    "subjects": [format!("{REJECTED_STREAM}.>")],
                    "storage": "file",
                    "retention": "limits",
                    "max_age": 0,
                    "num_replicas": source.config["num_replicas"].as_u64().unwrap_or(1),
                    "allow_direct": true,
                });
                self.control.create_stream(&config).await.map(|_| ())
            }
            found => found.map(|_| ()),
        }
    }
}

/// A record may be as large as its server allows, and what is said of it here comes on top: then its headers are left out,
/// and if that is not enough, the end of its payload, and how long it was is told.
fn fit(lines: &mut Lines, payload: &mut Vec<u8>, len_max: usize) {
    if block_len(lines) + payload.len() <= len_max {
        return;
    }
    lines.retain(|(name, _)| *name != HEADERS);
    if block_len(lines) + payload.len() > len_max {
        lines.push((PAYLOAD_LENGTH, payload.len().to_string()));
        payload.truncate(len_max.saturating_sub(block_len(lines)));
    }
}

fn block_len(lines: &Lines) -> usize {
    let line =
        |(name, value): &(&str, String)| name.len() + ": ".len() + value.len() + "\r\n".len();
    "NATS/1.0\r\n\r\n".len() + lines.iter().map(line).sum::<usize>()
}

/// A header value on one line of ASCII.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(char::escape_default)
        .take(TEXT_LEN_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_record_makes_way_for_it() {
        let all = || vec![("Nats-Msg-Id", "id".to_owned()), (HEADERS, "h".repeat(300))];
        let room = 1000;
        for (payload_len, kept_len, names) in [
            (600, 600, &["Nats-Msg-Id", HEADERS][..]),
            (900, 900, &["Nats-Msg-Id"]),
            (1000, 931, &["Nats-Msg-Id", PAYLOAD_LENGTH]),
        ] {
            let (mut lines, mut payload) = (all(), vec![b'x'; payload_len]);
            fit(&mut lines, &mut payload, room);
            assert!(block_len(&lines) + payload.len() <= room);
            assert!(
                lines
                    .iter()
                    .map(|(name, _)| *name)
                    .eq(names.iter().copied())
            );
            assert_eq!(payload.len(), kept_len);
        }
    }
}
