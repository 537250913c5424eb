//! Fast ingest (ADR-50): a run is one batch, and its one answer counts the prefix that was stored.
//!
//! Each publish names its place in the batch in its reply subject:
//! `<inbox>.<batch>.<flow>.fail.<sequence>.<operation>.$FI`. The server acknowledges at flow
//! boundaries and answers the commit. With gap mode `fail` a message that is lost or refused ends the
//! batch right before it, and what comes later is refused as of an unknown batch: a batch that has
//! ended fences its own late messages.

use causeway_proto::blame::{Blame, blame};
use causeway_proto::id::TargetSeq;
use causeway_proto::run::{Run, RunEnd, RunResult, Stalled};
use serde_json::Value;
use tokio::time::timeout;

use super::stamp::Prepared;
use super::{ANSWER_TIMEOUT, CHUNK_LEN, Publisher, lost};
use crate::nats::{Event, append_number, append_publish};

/// Messages between two acknowledgements; the server may shrink it.
const FLOW: u64 = 500;
/// Acknowledgements that may be outstanding.
const OUTSTANDING: u64 = 3;

const START: u64 = 0;
const APPEND: u64 = 1;
const COMMIT: u64 = 2;
const COMMIT_EOB: u64 = 3;

/// What the server has said of a batch so far.
#[derive(Default)]
struct Progress {
    acked: u64,
    flow: u64,
    refusal: Option<(u64, u32, String)>,
    gap: bool,
    answer: Option<Answer>,
}

enum Answer {
    Stored { seq: u64, count: u64 },
    Refused { code: u32, description: String },
}

impl Publisher {
    pub(super) async fn publish_fast(&mut self, run: &Run, generation: u64) -> RunResult {
        let batch = format!("{:x}", self.runs);
        let reply = format!("{}.{batch}.{FLOW}.fail.", self.inbox);
        let mut progress = Progress {
            flow: FLOW,
            ..Progress::default()
        };
        let mut sent = 0u64;
        let mut cut = None;
        let mut last_subject = Vec::new();
        self.chunk.clear();
        for record in run.records() {
            let expected = run.expected_last.filter(|_| self.config.fence_sequence);
            let expected = expected.map(|last| TargetSeq(last.0 + sent));
            let headers = match self.stamp.prepare(&record, &self.traits, expected) {
                Prepared::Publish(headers) => headers,
                Prepared::Refused(end) => {
                    cut = Some(end);
                    break;
                }
            };
            sent += 1;
            let last = sent == u64::from(run.record_count);
            let operation = if last {
                COMMIT
            } else if sent == 1 {
                START
            } else {
                APPEND
            };
            let reply = reply_subject(&reply, sent, operation);
            if append_publish(
                &mut self.chunk,
                record.subject,
                &reply,
                &[headers],
                record.payload,
            )
            .is_err()
            {
                sent -= 1;
                let reason = "subject cannot be published".to_owned();
                cut = Some(RunEnd::Rejected { code: 0, reason });
                break;
            }
            if last || cut.is_some() {
                break;
            }
            last_subject.clear();
            last_subject.extend_from_slice(record.subject);
            if self.chunk.len() >= CHUNK_LEN && !self.hand_over(generation).await {
                return lost();
            }
            while sent >= progress.acked + progress.flow * OUTSTANDING && progress.is_open() {
                if !self.hand_over(generation).await {
                    return lost();
                }
                if let Err(result) = self.listen(&batch, generation, &mut progress).await {
                    return result;
                }
            }
            if !progress.is_open() {
                break;
            }
        }
        if sent == 0 {
            return RunResult {
                stored: 0,
                last_seq: None,
                end: cut.unwrap_or(RunEnd::Complete),
            };
        }
        if cut.is_some() && progress.is_open() {
            let reply = reply_subject(&reply, sent + 1, COMMIT_EOB);
            let ended = append_publish(&mut self.chunk, &last_subject, &reply, &[], &[]);
            ended.expect("the subject was published a moment ago");
        }
        if !self.hand_over(generation).await {
            return lost();
        }
        while progress.answer.is_none() {
            if let Err(result) = self.listen(&batch, generation, &mut progress).await {
                return result;
            }
        }
        conclude(run, sent, cut, progress)
    }

    /// Gives what was built to the connection. `false`: it is gone.
    pub(super) async fn hand_over(&mut self, generation: u64) -> bool {
        if self.chunk.is_empty() {
            return true;
        }
        let chunk = self.chunk.split().freeze();
        self.client.writer().send(chunk, generation).await.is_ok()
    }

    /// Waits for the server to say something of this batch.
    async fn listen(
        &mut self,
        batch: &str,
        generation: u64,
        progress: &mut Progress,
    ) -> Result<(), RunResult> {
        let event = match timeout(ANSWER_TIMEOUT, self.replies.next()).await {
            Ok(event) => event,
            Err(_) => return Err(contradicted("the target's server does not answer")),
        };
        match event {
            Some(Event::Block(block)) => {
                let prefix = format!("{}.{batch}.", self.inbox);
                for message in block.iter() {
                    if message.subject.starts_with(prefix.as_bytes()) {
                        if message.status().is_some() {
                            return Err(contradicted("no stream takes the subject"));
                        }
                        progress.handle(message.payload);
                    }
                }
                Ok(())
            }
            Some(Event::Denied(text)) => {
                let reason = causeway_proto::frame::StallReason::NoPermission;
                let end = RunEnd::Stalled(Stalled {
                    reason,
                    detail: text.to_string(),
                });
                Err(RunResult {
                    stored: 0,
                    last_seq: None,
                    end,
                })
            }
            Some(Event::Up {
                generation: new, ..
            }) if new == generation => Ok(()),
            Some(Event::Up { .. } | Event::Down { .. }) | None => {
                self.generation = None;
                Err(lost())
            }
        }
    }
}

impl Progress {
    /// Whether the batch still takes records.
    fn is_open(&self) -> bool {
        self.answer.is_none() && self.refusal.is_none() && !self.gap
    }

    fn handle(&mut self, payload: &[u8]) {
        let Ok(said) = serde_json::from_slice::<Value>(payload) else {
            return;
        };
        let number = |field: &str| said[field].as_u64().unwrap_or_default();
        match said["type"].as_str() {
            Some("ack") => {
                self.acked = self.acked.max(number("seq"));
                if number("msgs") > 0 {
                    self.flow = number("msgs");
                }
            }
            Some("gap") => self.gap = true,
            Some("err") => {
                let (code, description) = read_error(&said["error"]);
                self.refusal
                    .get_or_insert((number("seq"), code, description));
            }
            _ => match said.get("error") {
                Some(error) => {
                    let (code, description) = read_error(error);
                    // What was under way behind a refused message is refused as of no batch.
                    let echo = code == 10208 && (self.refusal.is_some() || self.gap);
                    if !echo {
                        self.answer
                            .get_or_insert(Answer::Refused { code, description });
                    }
                }
                None => {
                    let (seq, count) = (number("seq"), number("count"));
                    self.answer.get_or_insert(Answer::Stored { seq, count });
                }
            },
        }
    }
}

fn conclude(run: &Run, sent: u64, cut: Option<RunEnd>, progress: Progress) -> RunResult {
    let (seq, count) = match progress.answer {
        Some(Answer::Stored { seq, count }) => (seq, count),
        Some(Answer::Refused { code, description }) => {
            return RunResult {
                stored: 0,
                last_seq: None,
                end: refused(code, description),
            };
        }
        None => return lost(),
    };
    // Where the route alone writes, each record took one sequence: a message of somebody else's, or
    // one that the server skipped for its id, shows here.
    if let Some(expected) = run.expected_last
        && seq != expected.0 + count
    {
        let words = format!(
            "{count} records moved the target from {} to {seq}",
            expected.0
        );
        return contradicted(&words);
    }
    let end = match (progress.refusal, cut) {
        (Some((_, code, description)), _) => refused(code, description),
        (None, _) if count < sent => RunEnd::Contradicted("the batch ended early".into()),
        (None, Some(cut)) => cut,
        (None, None) => RunEnd::Complete,
    };
    let stored = u32::try_from(count.min(sent)).unwrap_or(0);
    RunResult {
        stored,
        last_seq: (stored > 0).then_some(TargetSeq(seq)),
        end,
    }
}

/// What a refusal by the server means for the run.
pub(super) fn refused(code: u32, description: String) -> RunEnd {
    match blame(code, &description) {
        Blame::Record => RunEnd::Rejected {
            code,
            reason: description,
        },
        Blame::Target(reason) => RunEnd::Stalled(Stalled {
            reason,
            detail: description,
        }),
        Blame::Knowledge => RunEnd::Contradicted(description),
    }
}

pub(super) fn contradicted(words: &str) -> RunResult {
    RunResult {
        stored: 0,
        last_seq: None,
        end: RunEnd::Contradicted(words.to_owned()),
    }
}

pub(super) fn read_error(error: &Value) -> (u32, String) {
    let code = error["err_code"].as_u64().unwrap_or_default() as u32;
    (
        code,
        error["description"].as_str().unwrap_or_default().to_owned(),
    )
}

fn reply_subject(prefix: &str, seq: u64, operation: u64) -> bytes::BytesMut {
    let mut reply = bytes::BytesMut::with_capacity(prefix.len() + 16);
    reply.extend_from_slice(prefix.as_bytes());
    append_number(&mut reply, seq);
    reply.extend_from_slice(b".");
    append_number(&mut reply, operation);
    reply.extend_from_slice(b".$FI");
    reply
}
