//! Publishes runs into the target stream, by the best way that its server offers.
//!
//! | way | when | what proves how much was stored |
//! |---|---|---|
//! | [`fast`] | the stream has `allow_batched` (server 2.14) | the batch's one answer counts a prefix |
//! | [`chain`] | not, and the route alone writes | each publish expects the sequence before it |
//! | one at a time | not, and others write too, or were seen to | the answer to the one that is under way |
//!
//! A paused process cannot do harm later: what it has not sent belongs to a batch that the server has
//! given up, or expects a sequence that has passed; and no new connection is used before the server
//! has read the old one to its end (`nats`, "The fence").

mod barrier;
mod chain;
mod fast;
mod hearing;
mod stamp;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use causeway_proto::frame::StallReason;
use causeway_proto::headers::TargetTraits;
use causeway_proto::id::{SourceSeq, TargetSeq};
use causeway_proto::provenance::{Provenance, content_hash, find};
use causeway_proto::reconcile::{Scanned, TargetFacts};
use causeway_proto::run::{Evidence, Run, RunEnd, RunResult, Stalled};

pub use self::stamp::{Prepared, Stamp};
use crate::control::{Control, ControlError, StreamInfo};
use crate::nats::{Client, State, Subscription};

/// A server that has answered nothing for so long is asked again from the beginning.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes handed to the connection at once.
const CHUNK_LEN: usize = 64 * 1024;
/// Sequences of the target that are asked for at once, and how many bytes their records may hold together.
const SCAN_PARALLEL_MAX: u64 = 64;
const SCAN_LEN_MAX: u64 = 16 * 1024 * 1024;

/// How a publisher is told about its target.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// The target stream.
    pub stream: String,
    /// Its configuration, where the route may create it.
    pub create: Option<serde_json::Value>,
    /// Whether the route alone writes it.
    pub sole: bool,
    /// Whether each record carries the expected sequence (`fence = "sequence"`).
    pub fence_sequence: bool,
}

/// The way that records go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// Fast ingest.
    Fast,
    /// Pipelined, each expecting the sequence before it.
    Chain,
    /// One unacknowledged publish at a time.
    Single,
}

/// Publishes for one route. See the module.
pub struct Publisher {
    config: TargetConfig,
    control: Control,
    client: Client,
    replies: Subscription,
    inbox: String,
    generation: Option<u64>,
    /// Why no answers come on this connection: the inbox is refused.
    deaf: Option<Arc<str>>,
    stamp: Stamp,
    mode: ApplyMode,
    traits: TargetTraits,
    runs: u64,
    chunk: BytesMut,
}

impl Publisher {
    /// A publisher over the target thread's data connection.
    pub fn new(config: TargetConfig, control: Control, client: Client, stamp: Stamp) -> Self {
        let inbox = client.new_inbox();
        let replies = client
            .subscribe(&format!("{inbox}.>"))
            .expect("an inbox that the client itself made is a plain subject");
        let traits = TargetTraits {
            ttl: false,
            rollup: false,
            payload_len_max: 0,
            message_len_max: None,
        };
        Self {
            config,
            control,
            client,
            replies,
            inbox,
            generation: None,
            deaf: None,
            stamp,
            mode: ApplyMode::Single,
            traits,
            runs: 0,
            chunk: BytesMut::new(),
        }
    }

    /// How records go in now.
    pub fn mode(&self) -> ApplyMode {
        self.mode
    }

    /// Asks for the target's facts, creates it if it is missing and may be, and checks it.
    pub async fn describe(&mut self) -> Result<TargetFacts, Stalled> {
        let info = self.find_or_create().await.map_err(|why| why.stalled())?;
        let payload_len_max = match &*self.client.watch().borrow() {
            State::Connected { info, .. } => info.max_payload,
            _ => {
                let detail = "no connection to the target's server".to_owned();
                return Err(Stalled {
                    reason: StallReason::TargetUnreachable,
                    detail,
                });
            }
        };
        self.check(&info)?;
        let info = self.settled(info).await?;
        self.traits = TargetTraits {
            ttl: info.flag("allow_msg_ttl"),
            rollup: info.flag("allow_rollup_hdrs") && !info.flag("deny_purge") && self.config.sole,
            payload_len_max,
            message_len_max: info.config["max_msg_size"]
                .as_i64()
                .and_then(|n| n.try_into().ok()),
        };
        self.mode = match (info.flag("allow_batched"), self.config.sole) {
            (true, _) => ApplyMode::Fast,
            (false, true) => ApplyMode::Chain,
            (false, false) => ApplyMode::Single,
        };
        Ok(TargetFacts {
            created_ns: info.created_ns,
            first_seq: TargetSeq(info.first_seq),
            last_seq: TargetSeq(info.last_seq),
            evidence_stays: info.is_limits(),
            adds_markers: info.adds_markers(),
        })
    }

    async fn find_or_create(&self) -> Result<StreamInfo, ControlError> {
        let found = self.control.stream(&self.config.stream).await;
        match (&self.config.create, found) {
            (Some(config), Err(why)) if why.is_missing() => {
                tracing::info!(stream = self.config.stream, "creating the target stream");
                self.control.create_stream(config).await
            }
            (_, found) => found,
        }
    }

    /// What makes a stream unfit to be a target, whatever is done.
    fn check(&self, info: &StreamInfo) -> Result<(), Stalled> {
        let fault = if info
            .config
            .get("mirror")
            .is_some_and(|mirror| !mirror.is_null())
        {
            "the target is a mirror, which takes no publishes"
        } else if info.flag("sealed") {
            "the target is sealed"
        } else if info.flag("no_ack") {
            "the target acknowledges nothing (no_ack)"
        } else if info.flag("allow_msg_counter") {
            "the target is a counter stream"
        } else {
            return Ok(());
        };
        Err(Stalled {
            reason: StallReason::TargetUnfit,
            detail: fault.to_owned(),
        })
    }

    /// Looks for the newest record of this route among target sequences, from the newest down. Records that
    /// were read behind `through` are passed over.
    pub async fn scan(
        &mut self,
        from: TargetSeq,
        to: TargetSeq,
        through: Option<SourceSeq>,
    ) -> Result<Scanned, Stalled> {
        let mut scanned = Scanned::default();
        let mut left = to.0 + 1;
        let mut parallel = 1; // the newest record is nearly always ours
        while left > from.0 {
            let first = from.0.max(left.saturating_sub(parallel));
            parallel = (parallel * 4).min(scan_parallel_max(self.traits.payload_len_max));
            let records = futures_util::future::try_join_all(
                (first..left).map(|seq| self.control.record(&self.config.stream, seq)),
            );
            let records = records.await.map_err(|why| why.stalled())?;
            for (record, seq) in records.into_iter().rev().zip((first..left).rev()) {
                match record.map(|record| (self.read_evidence(&record), is_marker(&record))) {
                    None | Some((None, true)) => scanned.unseen_behind += 1,
                    Some((None, false)) => scanned.foreign += 1,
                    Some((Some(source), _)) if through.is_some_and(|at| source.seq > at) => {
                        scanned.passed_over = scanned.passed_over.max(Some(source.seq));
                    }
                    Some((Some(source), _)) => {
                        scanned.last = Some(Evidence {
                            source,
                            target_seq: TargetSeq(seq),
                        });
                        return Ok(scanned);
                    }
                }
            }
            left = first;
        }
        Ok(scanned)
    }

    /// The source position of a record that this route wrote; `None` if somebody else did.
    fn read_evidence(
        &self,
        record: &crate::control::StoredRecord,
    ) -> Option<causeway_proto::id::Position> {
        let provenance = Provenance::parse(find(&record.headers)?).ok()?;
        let ours = self.stamp.wrote(&provenance)
            && provenance.hash == content_hash(record.subject.as_bytes(), &record.payload);
        ours.then_some(provenance.last_hop.at)
    }

    /// Publishes a run. Never fails: what went wrong is in the result.
    pub async fn publish(&mut self, run: &Run) -> RunResult {
        let Some(generation) = self.generation else {
            return lost();
        };
        if self.client.generation() != Some(generation) || !self.catch_up() {
            return lost();
        }
        self.runs += 1;
        // A route that was seen not to be alone would purge what others wrote.
        self.traits.rollup &= run.expected_last.is_some();
        match self.mode {
            ApplyMode::Fast => self.publish_fast(run, generation).await,
            ApplyMode::Chain | ApplyMode::Single => self.publish_chain(run, generation).await,
        }
    }
}

/// Whether a server takes the line of a publish: beyond its `max_control_line` (4,096 by default; it does not say) it ends the
/// connection, and every route's with it.
fn fits_line(subject: &[u8], reply: &[u8], headers: &[u8], payload: &[u8]) -> bool {
    const LINE_LEN_MAX: usize = 4096;
    let digits = |number: usize| number.checked_ilog10().unwrap_or(0) as usize + 1;
    let numbers = digits(headers.len()) + digits(headers.len() + payload.len());
    subject.len() + reply.len() + numbers + 3 * " ".len() <= LINE_LEN_MAX
}

/// No server takes the line of that record's publish.
fn too_long() -> RunEnd {
    RunEnd::Rejected {
        code: 0,
        reason: "the subject is too long for the line of a publish (max_control_line)".to_owned(),
    }
}

/// Records that may be asked for at once: each may be as large as the server takes any, and a third more as the text of
/// its answer.
fn scan_parallel_max(payload_len_max: usize) -> u64 {
    let answer_len = (payload_len_max as u64 * 4 / 3).max(1);
    (SCAN_LEN_MAX / answer_len).clamp(1, SCAN_PARALLEL_MAX)
}

/// Whether the server itself wrote it, because the last record of its subject ended.
fn is_marker(record: &crate::control::StoredRecord) -> bool {
    const MARKER: &[u8] = b"\r\nNats-Marker-Reason:";
    memchr::memmem::find(&record.headers, MARKER).is_some()
}

/// The server forbids us a subject.
fn forbidden(text: &str) -> Stalled {
    Stalled {
        reason: StallReason::NoPermission,
        detail: text.to_owned(),
    }
}

fn lost() -> RunResult {
    RunResult {
        stored: 0,
        last_seq: None,
        end: RunEnd::ConnectionLost,
    }
}

#[cfg(test)]
mod tests {
    use super::scan_parallel_max;

    #[test]
    fn a_scan_holds_few_large_records() {
        let mib = 1024 * 1024;
        let parallel = [0, 1024, mib, 8 * mib, 64 * mib].map(scan_parallel_max);
        assert_eq!(parallel, [64, 64, 12, 1, 1]);
    }
}
