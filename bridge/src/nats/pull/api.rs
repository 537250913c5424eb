//! The few JetStream API calls of a reader, as JSON.

use std::time::Duration;

use causeway_proto::id::{SourceSeq, StoredAt};
use serde::{Deserialize, Serialize};

use super::Start;
use super::credit::Ask;

/// More records than any pull's bytes hold: bytes alone end a pull.
const BATCH_MAX: u64 = 1_000_000;

#[derive(Serialize)]
struct CreateRequest<'a> {
    stream_name: &'a str,
    config: Config<'a>,
}

#[derive(Serialize)]
struct Config<'a> {
    name: &'a str,
    description: &'static str,
    deliver_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opt_start_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opt_start_time: Option<String>,
    ack_policy: &'static str,
    replay_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_subjects: Option<&'a [String]>,
    mem_storage: bool,
    inactive_threshold: u64,
}

/// Everything that names a consumer to be made.
pub(crate) struct NewConsumer<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) name: &'a str,
    pub(crate) filters: &'a [String],
    pub(crate) start: Start,
    pub(crate) inactive_threshold: Duration,
}

impl NewConsumer<'_> {
    /// Subject and body of the call. With one filter the subject names it, so that an account's
    /// permissions can be given by it.
    pub(crate) fn call(&self) -> (String, Vec<u8>) {
        let Self {
            prefix,
            stream,
            name,
            filters,
            start,
            inactive_threshold,
        } = self;
        let mut subject = format!("{prefix}.CONSUMER.CREATE.{stream}.{name}");
        let one_filter = match filters {
            [filter] => Some(filter.as_str()),
            _ => None,
        };
        if let Some(filter) = one_filter {
            subject = format!("{subject}.{filter}");
        }
        let (deliver_policy, opt_start_seq, opt_start_time) = match start {
            Start::All => ("all", None, None),
            Start::New => ("new", None, None),
            Start::At(SourceSeq(seq)) => ("by_start_sequence", Some((*seq).max(1)), None),
            Start::Since(stored_at) => ("by_start_time", None, Some(rfc3339(*stored_at))),
        };
        let config = Config {
            name,
            description: "Causeway reader",
            deliver_policy,
            opt_start_seq,
            opt_start_time,
            ack_policy: "none",
            replay_policy: "instant",
            filter_subject: one_filter,
            filter_subjects: (filters.len() > 1).then_some(*filters),
            mem_storage: true,
            inactive_threshold: nanos(*inactive_threshold),
        };
        let request = CreateRequest {
            stream_name: stream,
            config,
        };
        (
            subject,
            serde_json::to_vec(&request).expect("texts and numbers have a JSON form"),
        )
    }
}

fn rfc3339(stored_at: StoredAt) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(stored_at.0)).map_or_else(
        |_| "9999-12-31T23:59:59Z".to_owned(),
        |time| time.to_string(),
    )
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Next {
    batch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    expires: u64,
    idle_heartbeat: u64,
}

/// Body of a pull.
pub(crate) fn next(ask: &Ask, heartbeat: Duration, batch_max: Option<u64>) -> Vec<u8> {
    let batch = if ask.max_bytes.is_some() {
        batch_max.unwrap_or(BATCH_MAX)
    } else {
        1
    };
    let next = Next {
        batch: batch.clamp(1, BATCH_MAX),
        max_bytes: ask.max_bytes,
        expires: nanos(ask.expires),
        // The server refuses heartbeats longer than half of the expiry.
        idle_heartbeat: nanos(heartbeat.min(ask.expires / 2)),
    };
    serde_json::to_vec(&next).expect("numbers have a JSON form")
}

/// An error of the JetStream API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) err_code: u32,
    #[serde(default)]
    pub(crate) description: String,
}

/// What the server says about a consumer that it made.
#[derive(Debug, Deserialize)]
pub(crate) struct Created {
    pub(crate) error: Option<ApiError>,
    #[serde(default)]
    pub(crate) num_pending: u64,
    #[serde(default)]
    pub(crate) delivered: Delivered,
    #[serde(default)]
    pub(crate) config: Limits,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Delivered {
    /// The sequence before the first that the consumer will look at.
    #[serde(default)]
    pub(crate) stream_seq: u64,
}

/// Limits that the server put on the consumer's pulls.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Limits {
    pub(crate) max_batch: Option<u64>,
    pub(crate) max_expires: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_asked_for_as_the_server_wants() {
        let filters = ["a.>".to_owned(), "b".to_owned()];
        let consumer = |filters, start| NewConsumer {
            prefix: "$JS.hub.API",
            stream: "S",
            name: "n",
            filters,
            start,
            inactive_threshold: Duration::from_secs(60),
        };
        let (subject, body) = consumer(&filters[..1], Start::At(SourceSeq(7))).call();
        assert_eq!(subject, "$JS.hub.API.CONSUMER.CREATE.S.n.a.>");
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(r#""deliver_policy":"by_start_sequence","opt_start_seq":7"#));
        assert!(body.contains(r#""filter_subject":"a.>""#), "{body}");
        let (subject, body) = consumer(&filters, Start::Since(StoredAt(1_500_000_000))).call();
        assert_eq!(subject, "$JS.hub.API.CONSUMER.CREATE.S.n");
        let body = String::from_utf8(body).unwrap();
        assert!(
            body.contains(r#""opt_start_time":"1970-01-01T00:00:01.5Z""#),
            "{body}"
        );
        assert!(body.contains(r#""filter_subjects":["a.>","b"]"#));
    }

    #[test]
    fn pulls_are_bounded_by_bytes() {
        let ask = Ask {
            id: 1,
            max_bytes: Some(10),
            expires: Duration::from_secs(2),
        };
        let body = next(&ask, Duration::from_secs(5), None);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"batch":1000000,"max_bytes":10,"expires":2000000000,"idle_heartbeat":1000000000}"#
        );
        let alone = Ask {
            max_bytes: None,
            ..ask
        };
        assert!(next(&alone, Duration::from_secs(1), None).starts_with(br#"{"batch":1,"expires"#));
    }
}
