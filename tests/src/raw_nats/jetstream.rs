//! JetStream in as many words as the tests need: its API, streams, publishes with their answers, records.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{ANSWER_TIMEOUT, Message, RawNats};

/// How long to listen where no answer is the expected one.
const SILENCE: Duration = Duration::from_millis(700);

/// What a stream answered to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The record stands at `seq`.
    Stored {
        /// Its sequence.
        seq: u64,
        /// The stream had its id already, and kept what it had.
        duplicate: bool,
    },
    /// The stream refused it.
    Refused {
        /// The error's own code, `err_code`.
        code: u64,
        /// What the server said.
        description: String,
    },
    /// No answer came.
    Silence,
}

/// A record as a stream holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its subject.
    pub subject: String,
    /// Its header block, or nothing.
    pub headers: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
    /// When it was stored, as the server writes it (RFC 3339).
    pub time: String,
}

impl RawNats {
    /// Asks the JetStream API, `subject` without its `$JS.API.`.
    pub fn api(&mut self, subject: &str, request: &Value) -> Result<Value> {
        let payload = request.to_string();
        let answer = self.request(&format!("$JS.API.{subject}"), b"", payload.as_bytes())?;
        let value: Value = serde_json::from_slice(&answer.payload)
            .with_context(|| format!("{subject} answered {answer:?}"))?;
        match value.get("error") {
            Some(error) => bail!("{subject}: {error}"),
            None => Ok(value),
        }
    }

    /// Creates a stream; `config` is added to name, subjects `NAME.>` and file storage.
    pub fn create_stream(&mut self, name: &str, config: &Value) -> Result<()> {
        let mut all = json!({"name": name, "subjects": [format!("{name}.>")], "storage": "file"});
        let more = config
            .as_object()
            .context("a configuration is an object")?
            .clone();
        all.as_object_mut()
            .expect("built as an object, two lines above")
            .extend(more);
        self.api(&format!("STREAM.CREATE.{name}"), &all).map(drop)
    }

    /// First and last sequence and the number of records.
    pub fn state(&mut self, stream: &str) -> Result<(u64, u64, u64)> {
        let info = self.api(&format!("STREAM.INFO.{stream}"), &json!({}))?;
        let number = |key: &str| info["state"][key].as_u64().unwrap_or_default();
        Ok((number("first_seq"), number("last_seq"), number("messages")))
    }

    /// Publishes to a stream and waits for what it says.
    pub fn publish_acked(
        &mut self,
        subject: &str,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Answer> {
        let inbox = self.new_inbox();
        self.publish(subject, &inbox, headers, payload)?;
        self.acknowledgement(&inbox, ANSWER_TIMEOUT)
    }

    /// Publishes what is expected to get no answer. Ends early where one comes.
    pub fn publish_unanswered(
        &mut self,
        subject: &str,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Answer> {
        let inbox = self.new_inbox();
        self.publish(subject, &inbox, headers, payload)?;
        self.flush()?;
        self.acknowledgement(&inbox, SILENCE)
    }

    /// The record at `seq`, as the stream holds it.
    pub fn stored(&mut self, stream: &str, seq: u64) -> Result<Stored> {
        let answer = self.api(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": seq}))?;
        let message = &answer["message"];
        let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        Ok(Stored {
            subject: text("subject"),
            headers: BASE64.decode(text("hdrs"))?,
            payload: BASE64.decode(text("data"))?,
            time: text("time"),
        })
    }

    /// Waits for the record at `seq` of a stream, and reads it through a consumer, as an application
    /// does.
    pub fn consume(&mut self, stream: &str, seq: u64) -> Result<Message> {
        let name = format!("c{:016x}", rand::random::<u64>());
        let config = json!({"stream_name": stream, "config": {
            "name": name, "ack_policy": "none", "deliver_policy": "by_start_sequence",
            "opt_start_seq": seq, "mem_storage": true,
        }});
        self.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &config)?;
        // The record keeps its own subject, so only the subscription tells what it answers.
        let inbox = format!("_PULL.{name}");
        let subscription = self.subscribe(&inbox)?;
        let request = json!({"batch": 1, "expires": ANSWER_TIMEOUT.as_nanos() as u64}).to_string();
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
        self.publish(&next, &inbox, b"", request.as_bytes())?;
        let message = self.next(subscription, ANSWER_TIMEOUT)?;
        let message = message.with_context(|| format!("no record {seq} in {stream}"))?;
        self.send(format!("UNSUB {subscription}\r\n").as_bytes())?;
        self.api(&format!("CONSUMER.DELETE.{stream}.{name}"), &json!({}))?;
        let wanted = format!(".{seq}.");
        let found = message
            .reply
            .as_deref()
            .is_some_and(|reply| reply.contains(&wanted));
        ensure!(found, "no record {seq} in {stream}: {message:?}");
        Ok(message)
    }

    /// What a stream says on an inbox within that time.
    fn acknowledgement(&mut self, inbox: &str, timeout: Duration) -> Result<Answer> {
        match self.answer(inbox, timeout)? {
            Some(answer) => read_answer(&answer),
            None => Ok(Answer::Silence),
        }
    }
}

fn read_answer(answer: &Message) -> Result<Answer> {
    let value: Value = serde_json::from_slice(&answer.payload)
        .with_context(|| format!("a stream answered {answer:?}"))?;
    if let Some(error) = value.get("error") {
        return Ok(Answer::Refused {
            code: error["err_code"].as_u64().unwrap_or_default(),
            description: error["description"].as_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(Answer::Stored {
        seq: value["seq"]
            .as_u64()
            .with_context(|| format!("no sequence in {value}"))?,
        duplicate: value["duplicate"].as_bool().unwrap_or_default(),
    })
}
