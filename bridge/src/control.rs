//! Questions to a region's JetStream, over a connection of their own so that no reply waits behind
//! records. The API is JSON; only the fields that we use are read, whatever the server's version.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use causeway_proto::id::{Position, SourceSeq, StoredAt};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::time::interval;

pub use self::error::ControlError;

mod error;

/// An answer takes milliseconds; a server without a leader takes for ever.
const TIMEOUT: Duration = Duration::from_secs(5);
/// While a cluster elects a leader nobody answers, then or later; so a question is asked again. The first answer to any
/// counts, so that a slow server is heard as well.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A region's JetStream API.
#[derive(Debug, Clone)]
pub struct Control {
    client: async_nats::Client,
    prefix: String,
}

/// A stream as its leader describes it.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// Creation time, nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// First sequence still there.
    pub first_seq: u64,
    /// Last sequence given out.
    pub last_seq: u64,
    /// The whole configuration.
    pub config: Value,
}

impl StreamInfo {
    /// A flag of the configuration; absent is false.
    pub fn flag(&self, name: &str) -> bool {
        self.config[name].as_bool().unwrap_or(false)
    }

    /// Whether several servers hold a copy.
    pub fn is_replicated(&self) -> bool {
        self.config["num_replicas"].as_u64().unwrap_or(1) > 1
    }

    /// Whether the server writes a marker where the last record of a subject ended.
    pub fn adds_markers(&self) -> bool {
        let ttl = &self.config["subject_delete_marker_ttl"];
        ttl.as_u64().is_some_and(|ttl| ttl > 0)
    }

    /// Whether records stay until limits remove them.
    pub fn is_limits(&self) -> bool {
        self.config["retention"]
            .as_str()
            .is_none_or(|retention| retention == "limits")
    }
}

/// A consumer as its leader describes it.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerState {
    /// Records that wait for it.
    pub pending: u64,
    /// The number of its last delivery.
    pub delivered: u64,
    /// Pulls that it holds.
    pub pulls: u64,
}

/// A record fetched by its sequence.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Where it stands.
    pub at: Position,
    /// Its subject.
    pub subject: String,
    /// Raw header block, or empty.
    pub headers: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Control {
    /// Over `client`, in the JetStream domain `domain` if one is named.
    pub fn new(client: async_nats::Client, domain: Option<&str>) -> Self {
        let prefix = match domain {
            Some(domain) => format!("$JS.{domain}.API"),
            None => "$JS.API".to_owned(),
        };
        Self { client, prefix }
    }

    /// Largest message, headers included, that the server takes.
    pub fn payload_len_max(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Describes a stream.
    pub async fn stream(&self, name: &str) -> Result<StreamInfo, ControlError> {
        let subject = format!("STREAM.INFO.{name}");
        let answer = self.ask(&subject, &json!({})).await?;
        // While there is no leader any member answers, out of what it happens to hold.
        let cluster = &answer["cluster"];
        if cluster.is_object() && cluster["leader"].as_str().unwrap_or_default().is_empty() {
            return Err(unreachable(&subject, &"the stream has no leader"));
        }
        read_stream(&answer).ok_or(ControlError::Malformed(subject))
    }

    /// Names of streams whose subjects overlap with a filter; a server names up to 1,024 of them.
    pub async fn streams_sharing(&self, subject: &str) -> Result<Vec<String>, ControlError> {
        let question = json!({ "subject": subject });
        let answer = self.ask("STREAM.NAMES", &question).await?;
        let names = answer["streams"].as_array().into_iter().flatten();
        Ok(names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect())
    }

    /// Creates a stream.
    pub async fn create_stream(&self, config: &Value) -> Result<StreamInfo, ControlError> {
        let name = config["name"].as_str().unwrap_or_default();
        let subject = format!("STREAM.CREATE.{name}");
        let answer = self.ask(&subject, config).await?;
        read_stream(&answer).ok_or(ControlError::Malformed(subject))
    }

    /// The record at a sequence; `None` where there is none.
    pub async fn record(
        &self,
        stream: &str,
        seq: u64,
    ) -> Result<Option<StoredRecord>, ControlError> {
        let subject = format!("STREAM.MSG.GET.{stream}");
        match self.ask(&subject, &json!({ "seq": seq })).await {
            Ok(answer) => read_record(&answer)
                .map(Some)
                .ok_or(ControlError::Malformed(subject)),
            Err(why) if why.is_missing() => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// The first record at or behind a sequence.
    pub async fn next_record(
        &self,
        stream: &str,
        seq: u64,
    ) -> Result<Option<StoredRecord>, ControlError> {
        let subject = format!("STREAM.MSG.GET.{stream}");
        match self
            .ask(&subject, &json!({ "seq": seq, "next_by_subj": ">" }))
            .await
        {
            Ok(answer) => read_record(&answer)
                .map(Some)
                .ok_or(ControlError::Malformed(subject)),
            Err(why) if why.is_missing() => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Creates an ephemeral consumer. Returns its name, and how many records one pull of it may ask for.
    pub async fn create_consumer(
        &self,
        stream: &str,
        config: &Value,
    ) -> Result<(String, Option<u64>), ControlError> {
        let name = config["name"].as_str().unwrap_or_default();
        let subject = format!("CONSUMER.CREATE.{stream}.{name}");
        let answer = self
            .ask(
                &subject,
                &json!({ "stream_name": stream, "config": config }),
            )
            .await?;
        let name = answer["name"].as_str().map(str::to_owned);
        // A server with a limit of its own puts it into every consumer without one.
        let batch = answer["config"]["max_batch"].as_u64();
        name.map(|name| (name, batch.filter(|it| *it > 0)))
            .ok_or(ControlError::Malformed(subject))
    }

    /// Removes a consumer. That it is gone already is as good.
    pub async fn delete_consumer(&self, stream: &str, name: &str) -> Result<(), ControlError> {
        match self
            .ask(&format!("CONSUMER.DELETE.{stream}.{name}"), &json!({}))
            .await
        {
            Err(why) if !why.is_missing() => Err(why),
            _ => Ok(()),
        }
    }

    /// What a consumer says of itself.
    pub async fn consumer(&self, stream: &str, name: &str) -> Result<ConsumerState, ControlError> {
        let subject = format!("CONSUMER.INFO.{stream}.{name}");
        let answer = self.ask(&subject, &json!({})).await?;
        let state = || {
            Some(ConsumerState {
                pending: answer["num_pending"].as_u64()?,
                delivered: answer["delivered"]["consumer_seq"].as_u64()?,
                pulls: answer["num_waiting"].as_u64()?,
            })
        };
        state().ok_or(ControlError::Malformed(subject))
    }

    /// The subject that a consumer's pulls go to.
    pub fn pull_subject(&self, stream: &str, consumer: &str) -> String {
        format!("{}.CONSUMER.MSG.NEXT.{stream}.{consumer}", self.prefix)
    }

    /// Publishes a message and waits until a stream has stored it.
    pub async fn store(
        &self,
        subject: String,
        headers: async_nats::HeaderMap,
        payload: Vec<u8>,
    ) -> Result<(), ControlError> {
        let request = async_nats::Request::new()
            .headers(headers)
            .payload(payload.into())
            .timeout(Some(TIMEOUT));
        let reply = self.client.send_request(subject.clone(), request).await;
        let reply = reply.map_err(|why| unreachable(&subject, &why))?;
        parse(&subject, &reply.payload).map(|_| ())
    }

    /// Every question may be asked twice: the second creation of the same thing finds it.
    async fn ask(&self, what: &str, question: &Value) -> Result<Value, ControlError> {
        let subject = format!("{}.{what}", self.prefix);
        let payload = Bytes::from(question.to_string());
        let mut again = interval(ASK_AGAIN);
        let mut asked = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = again.tick() => {
                    let request = async_nats::Request::new()
                        .payload(payload.clone())
                        .timeout(Some(TIMEOUT));
                    asked.push(self.client.send_request(subject.clone(), request));
                }
                Some(reply) = asked.next() => {
                    let reply = reply.map_err(|why| unreachable(what, &why))?;
                    return parse(what, &reply.payload);
                }
            }
        }
    }
}

fn unreachable(subject: &str, why: &dyn std::fmt::Display) -> ControlError {
    ControlError::Unreachable {
        subject: subject.to_owned(),
        why: why.to_string(),
    }
}

fn parse(subject: &str, payload: &[u8]) -> Result<Value, ControlError> {
    let answer: Value =
        serde_json::from_slice(payload).map_err(|_| ControlError::Malformed(subject.to_owned()))?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => Err(ControlError::Api {
            code: error["err_code"].as_u64().unwrap_or_default() as u32,
            description: error["description"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

fn read_stream(answer: &Value) -> Option<StreamInfo> {
    let state = &answer["state"];
    Some(StreamInfo {
        created_ns: nanoseconds(answer["created"].as_str()?)?,
        first_seq: state["first_seq"].as_u64()?,
        last_seq: state["last_seq"].as_u64()?,
        config: answer["config"].clone(),
    })
}

fn read_record(answer: &Value) -> Option<StoredRecord> {
    let message = &answer["message"];
    let bytes = |field: &str| {
        STANDARD
            .decode(message[field].as_str().unwrap_or_default())
            .ok()
    };
    let stored_at = StoredAt(nanoseconds(message["time"].as_str()?)?);
    Some(StoredRecord {
        at: Position {
            seq: SourceSeq(message["seq"].as_u64()?),
            stored_at,
        },
        subject: message["subject"].as_str()?.to_owned(),
        headers: bytes("hdrs")?,
        payload: bytes("data")?,
    })
}

fn nanoseconds(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}
