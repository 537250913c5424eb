//! Fast ingest (ADR-50): a run is one batch, and its one answer counts the prefix that was stored.
//!
//! Each publish names its place in the batch in its reply subject:
//! `<inbox>.<batch>.<flow>.fail.<sequence>.<operation>.$FI`. The server acknowledges at flow
//! boundaries and answers the commit. With gap mode `fail` a message that is lost or refused ends the
//! batch right before it, and what comes later is refused as of an unknown batch: a batch that has
//! ended fences its own late messages.

mod progress;

use std::time::Duration;

use bytes::BytesMut;
use causeway_proto::blame::{Blame, blame};
use causeway_proto::id::TargetSeq;
use causeway_proto::record::RecordView;
use causeway_proto::run::{Run, RunEnd, RunResult, Stalled};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use self::progress::{Answer, Progress};
use super::hearing::holds;
use super::stamp::Prepared;
use super::{ANSWER_TIMEOUT, CHUNK_LEN, Publisher, fits_line, forbidden, lost, too_long};
use crate::nats::{Event, append_number, append_publish};

/// Messages between two acknowledgements; the server may shrink it.
const FLOW: u64 = 500;
/// Acknowledgements that may be outstanding.
const OUTSTANDING: u64 = 3;
/// A server that has said nothing for so long is asked how far the batch has come. A new leader knows of a batch only
/// what was stored, and says nothing of it unless it is asked.
const PING_AFTER: Duration = Duration::from_secs(1);

/// `err_code` of a message that is larger than the stream allows.
const MESSAGE_TOO_LARGE: u32 = 10054;

const START: u64 = 0;
const APPEND: u64 = 1;
const COMMIT: u64 = 2;
const COMMIT_EOB: u64 = 3;
const PING: u64 = 4;

/// The batch being published.
struct Batch {
    /// `<inbox>.<batch>.`, which every answer to it begins with.
    prefix: String,
    sent: u64,
    record_count: u64,
    /// The subject of the last record, which the end of the batch is sent to.
    subject: Vec<u8>,
    /// Why the run ends before its last record, by our own judgement.
    cut: Option<RunEnd>,
    /// Its end was sent behind the last record, which was not.
    ended: bool,
    /// When it last came further.
    moved: Instant,
    progress: Progress,
}

impl Batch {
    fn new(inbox: &str, number: u64, record_count: u32) -> Self {
        Self {
            prefix: format!("{inbox}.{number:x}."),
            sent: 0,
            record_count: record_count.into(),
            subject: Vec::new(),
            cut: None,
            ended: false,
            moved: Instant::now(),
            progress: Progress::new(FLOW),
        }
    }

    /// The reply subject of a publish: its place in the batch.
    fn reply(&self, seq: u64, operation: u64) -> BytesMut {
        let mut reply = BytesMut::with_capacity(self.prefix.len() + 32);
        reply.extend_from_slice(self.prefix.as_bytes());
        append_number(&mut reply, FLOW);
        reply.extend_from_slice(b".fail.");
        append_number(&mut reply, seq);
        reply.extend_from_slice(b".");
        append_number(&mut reply, operation);
        reply.extend_from_slice(b".$FI");
        reply
    }

    fn is_complete(&self) -> bool {
        self.sent == self.record_count
    }

    /// Whether the server must speak before more is sent.
    fn must_wait(&self) -> bool {
        let allowed = self.progress.acked + self.progress.flow * OUTSTANDING;
        self.progress.is_open() && !self.is_complete() && self.sent >= allowed
    }
}

impl Publisher {
    pub(super) async fn publish_fast(&mut self, run: &Run, generation: u64) -> RunResult {
        let mut batch = Batch::new(&self.inbox, self.runs, run.record_count);
        self.chunk.clear();
        if let Err(result) = self.send_records(run, generation, &mut batch).await {
            return result;
        }
        if batch.sent == 0 {
            let end = batch.cut.unwrap_or(RunEnd::Complete);
            return RunResult {
                stored: 0,
                last_seq: None,
                end,
            };
        }
        if !batch.is_complete() && batch.progress.is_open() {
            let reply = batch.reply(batch.sent + 1, COMMIT_EOB);
            let appended = append_publish(&mut self.chunk, &batch.subject, &reply, &[], &[]);
            appended.expect("the subject was published a moment ago");
            batch.ended = true;
        }
        if !self.hand_over(generation).await {
            return lost();
        }
        while batch.progress.answer.is_none() {
            if let Err(result) = self.listen(run, &mut batch, generation).await {
                return result;
            }
        }
        conclude(run, batch)
    }

    /// Sends records until the run, the server or a record of its own ends the batch.
    async fn send_records(
        &mut self,
        run: &Run,
        generation: u64,
        batch: &mut Batch,
    ) -> Result<(), RunResult> {
        for record in run.records() {
            let sequenced = run.expected_last.filter(|_| self.config.fence_sequence);
            let expected = sequenced.map(|last| TargetSeq(last.0 + batch.sent));
            let again = run.time_of(&record);
            if !self.append(&record, expected, again, batch) {
                return Ok(());
            }
            let full = self.chunk.len() >= CHUNK_LEN || batch.must_wait();
            if full && !self.hand_over(generation).await {
                return Err(lost());
            }
            while batch.must_wait() {
                self.listen(run, batch, generation).await?;
            }
            if !batch.progress.is_open() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Appends one record to what is sent next. `false`: the run ends before it.
    fn append(
        &mut self,
        record: &RecordView<'_>,
        expected: Option<TargetSeq>,
        again: Option<u32>,
        batch: &mut Batch,
    ) -> bool {
        let headers = match self.stamp.prepare(record, &self.traits, expected, again) {
            Prepared::Publish(headers) => headers,
            Prepared::Refused(end) => {
                batch.cut = Some(end);
                return false;
            }
        };
        let seq = batch.sent + 1;
        let operation = match seq {
            seq if seq == batch.record_count => COMMIT,
            1 => START,
            _ => APPEND,
        };
        let reply = batch.reply(seq, operation);
        let (subject, payload) = (record.subject, record.payload);
        if !fits_line(subject, &reply, headers, payload) {
            batch.cut = Some(too_long());
            return false;
        }
        if append_publish(&mut self.chunk, subject, &reply, &[headers], payload).is_err() {
            let reason = "the subject cannot be published".to_owned();
            batch.cut = Some(RunEnd::Rejected { code: 0, reason });
            return false;
        }
        batch.sent = seq;
        batch.subject.clear();
        batch.subject.extend_from_slice(subject);
        true
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
        run: &Run,
        batch: &mut Batch,
        generation: u64,
    ) -> Result<(), RunResult> {
        let Ok(event) = timeout(PING_AFTER, self.replies.next()).await else {
            return self.ping(batch, generation).await;
        };
        match event {
            Some(Event::Block(block)) => {
                for message in block.iter() {
                    if !message.subject.starts_with(batch.prefix.as_bytes()) {
                        continue;
                    }
                    if message.status().is_some() {
                        return Err(contradicted("no stream takes the subject"));
                    }
                    if batch.progress.handle(message.payload) {
                        batch.moved = Instant::now();
                    }
                }
                Ok(())
            }
            Some(Event::Denied(text)) => {
                match self.is_denied(&text, |subject| holds(run, subject)) {
                    true => Err(denied(&text)),
                    false => Ok(()),
                }
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

    /// Asks how far the batch has come, unless that was in vain for long.
    async fn ping(&mut self, batch: &Batch, generation: u64) -> Result<(), RunResult> {
        if batch.moved.elapsed() >= ANSWER_TIMEOUT {
            return Err(contradicted(
                "the target's server stores nothing of a batch",
            ));
        }
        // An end that was lost with a leader shows as a gap, which ends the batch as well.
        let last = batch.sent + u64::from(batch.ended);
        let reply = batch.reply(last, PING);
        let asked = append_publish(&mut self.chunk, &batch.subject, &reply, &[], &[]);
        asked.expect("the subject was published a moment ago");
        match self.hand_over(generation).await {
            true => Ok(()),
            false => Err(lost()),
        }
    }
}

fn conclude(run: &Run, batch: Batch) -> RunResult {
    let Batch {
        sent,
        cut,
        progress,
        ..
    } = batch;
    let (seq, count) = match progress.answer {
        Some(Answer::Stored { seq, count }) => (seq, count),
        Some(Answer::Refused { code, description }) => {
            return RunResult {
                stored: 0,
                last_seq: None,
                end: match code {
                    // Said before the server looks which record of the batch it is. The stream's limit is another one than we knew.
                    MESSAGE_TOO_LARGE if sent > 1 => RunEnd::Contradicted(description),
                    _ => refused(code, description),
                },
            };
        }
        None => return lost(),
    };
    // Where the route alone writes, each record took one sequence: a message of somebody else's shows here.
    // What took none, and a target that went back, is for the receiver to judge.
    if let Some(expected) = run.expected_last.filter(|_| run.counted)
        && seq > expected.0 + count
    {
        let words = format!(
            "{count} records moved the target from {} to {seq}",
            expected.0
        );
        return contradicted(&words);
    }
    let end = match (progress.refusal, cut) {
        (Some((code, description)), _) => refused(code, description),
        (None, _) if count < sent => RunEnd::Contradicted("the batch ended early".into()),
        (None, Some(cut)) => cut,
        (None, None) => RunEnd::Complete,
    };
    let stored = u32::try_from(count.min(sent)).unwrap_or(0);
    RunResult {
        stored,
        // A batch that held only what the server had already took no sequence, which it calls 0.
        last_seq: (stored > 0 && seq > 0).then_some(TargetSeq(seq)),
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

pub(super) fn denied(text: &str) -> RunResult {
    RunResult {
        stored: 0,
        last_seq: None,
        end: RunEnd::Stalled(forbidden(text)),
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
