//! Publishing with an acknowledgement each, for targets without fast ingest.
//!
//! Where the route alone writes, every publish expects the sequence that the one before it takes
//! (`Nats-Expected-Last-Sequence`). When one fails, all behind it fail too, so that the stored records
//! are a prefix however many are under way. The server stores that header with the record; this is
//! the price of a target without fast ingest. Where others write too, or have been seen to, one publish is under way.

use causeway_proto::id::TargetSeq;
use causeway_proto::run::{Run, RunEnd, RunResult};
use serde_json::Value;
use tokio::time::timeout;

use super::fast::{contradicted, denied, read_error, refused};
use super::hearing::holds;
use super::stamp::Prepared;
use super::{ANSWER_TIMEOUT, ApplyMode, CHUNK_LEN, Publisher, fits_line, lost, too_long};
use crate::nats::{Event, append_number, append_publish};

/// Publishes under way in a chain.
const WINDOW: u32 = 1024;

/// Answers so far. They come in the order of the publishes, as one stream takes them all.
#[derive(Default)]
struct Answers {
    stored: u32,
    last_seq: Option<TargetSeq>,
    answered: u32,
    failed: Option<RunEnd>,
}

impl Publisher {
    pub(super) async fn publish_chain(&mut self, run: &Run, generation: u64) -> RunResult {
        let base = run.expected_last.filter(|_| self.mode == ApplyMode::Chain);
        let window = base.map_or(1, |_| WINDOW);
        let batch = format!("{:x}", self.runs);
        let mut answers = Answers::default();
        let mut sent = 0u32;
        let mut cut = None;
        for record in run.records() {
            let expected = base.map(|last| TargetSeq(last.0 + u64::from(sent)));
            let again = run.time_of(&record);
            let headers = match self.stamp.prepare(&record, &self.traits, expected, again) {
                Prepared::Publish(headers) => headers,
                Prepared::Refused(end) => {
                    cut = Some(end);
                    break;
                }
            };
            let mut reply = bytes::BytesMut::from(format!("{}.{batch}.", self.inbox).as_bytes());
            append_number(&mut reply, u64::from(sent));
            let payload = record.payload;
            if !fits_line(record.subject, &reply, headers, payload) {
                cut = Some(too_long());
                break;
            }
            if append_publish(&mut self.chunk, record.subject, &reply, &[headers], payload).is_err()
            {
                let reason = "subject cannot be published".to_owned();
                cut = Some(RunEnd::Rejected { code: 0, reason });
                break;
            }
            sent += 1;
            let full = sent - answers.answered >= window;
            if (full || self.chunk.len() >= CHUNK_LEN) && !self.hand_over(generation).await {
                return lost();
            }
            while sent - answers.answered >= window && answers.failed.is_none() {
                if let Err(result) = self.hear(run, &batch, generation, &mut answers).await {
                    return result;
                }
            }
            if answers.failed.is_some() {
                break;
            }
        }
        if !self.hand_over(generation).await {
            return lost();
        }
        while answers.answered < sent {
            if let Err(result) = self.hear(run, &batch, generation, &mut answers).await {
                return result;
            }
        }
        let end = answers.failed.or(cut).unwrap_or(RunEnd::Complete);
        RunResult {
            stored: answers.stored,
            last_seq: answers.last_seq,
            end,
        }
    }

    async fn hear(
        &mut self,
        run: &Run,
        batch: &str,
        generation: u64,
        answers: &mut Answers,
    ) -> Result<(), RunResult> {
        match timeout(ANSWER_TIMEOUT, self.replies.next()).await {
            Err(_) => Err(contradicted("the target's server does not answer")),
            Ok(Some(Event::Block(block))) => {
                let prefix = format!("{}.{batch}.", self.inbox);
                for message in block.iter() {
                    if message.subject.starts_with(prefix.as_bytes()) {
                        answers.handle(message.status(), message.payload);
                    }
                }
                Ok(())
            }
            Ok(Some(Event::Denied(text))) => {
                match self.is_denied(&text, |subject| holds(run, subject)) {
                    true => Err(denied(&text)),
                    false => Ok(()),
                }
            }
            Ok(Some(Event::Up {
                generation: new, ..
            })) if new == generation => Ok(()),
            Ok(_) => {
                self.generation = None;
                Err(lost())
            }
        }
    }
}

impl Answers {
    fn handle(&mut self, status: Option<(u16, &str)>, payload: &[u8]) {
        self.answered += 1;
        if self.failed.is_some() {
            return; // an echo of the first failure
        }
        if status.is_some() {
            self.failed = Some(RunEnd::Contradicted("no stream takes the subject".into()));
            return;
        }
        let Ok(said) = serde_json::from_slice::<Value>(payload) else {
            self.failed = Some(RunEnd::Contradicted("an answer is not understood".into()));
            return;
        };
        if let Some(error) = said.get("error") {
            let (code, description) = read_error(error);
            self.failed = Some(refused(code, description));
            return;
        }
        self.stored += 1;
        if said["duplicate"] != true {
            self.last_seq = said["seq"].as_u64().map(TargetSeq);
        }
    }
}
