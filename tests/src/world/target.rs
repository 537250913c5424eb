//! The driver of a receiver, as the bridge's: it does one thing at a time at the target.

use std::collections::VecDeque;
mod publishing;

use std::time::Duration;

use bytes::Bytes;
use causeway_proto::checkpoint::TargetCheckpoint;
use causeway_proto::codec::{BatchHead, LaneDecoder};
use causeway_proto::frame::{Frame, StallReason};
use causeway_proto::id::Position;
use causeway_proto::receiver::{Action, Report};
use causeway_proto::reconcile::{Scanned, TargetFacts};
use causeway_proto::record::RecordView;
use causeway_proto::run::{Run, RunEnd, RunResult, Stalled};
use rand::Rng;

use super::bridge::target_key;
use super::{BridgeEvent, Event, World};
use crate::jetstream::{Job, Message, Stamp};

/// Between two attempts to connect to a target.
const RECONNECT: Duration = Duration::from_millis(50);

impl World {
    pub(super) fn inbound_frame(&mut self, number: usize, frame: Frame) {
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        match frame {
            Frame::Open(open) => {
                self.drop_lane(number);
                let Some(inbound) = self.routes[number].inbound.as_mut() else {
                    return;
                };
                inbound.receiver.handle_open(open);
            }
            Frame::CloseLane(close) if inbound.receiver.lane() == Some(close.lane) => {
                self.drop_lane(number);
            }
            Frame::Rejected(kept) => {
                if let Err(fault) = inbound.receiver.handle_kept_aside(&kept) {
                    self.refuse_lane(number, kept.lane, &fault.to_string());
                }
            }
            _ => {}
        }
    }

    pub(super) fn batch_arrives(&mut self, number: usize, head: BatchHead, body: Bytes) {
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        let lane = head.lane;
        if let Err(fault) = inbound.receiver.handle_batch(head, body) {
            self.refuse_lane(number, lane, &fault.to_string());
        }
    }

    pub(super) fn drop_lane(&mut self, number: usize) {
        if let Some(inbound) = self.routes[number].inbound.as_mut() {
            inbound.receiver.handle_lane_lost();
            inbound.decoder = None;
        }
    }

    // --- What the receiver asks for ----------------------------------------------------------------

    pub(super) fn pump_inbound(&mut self, number: usize) {
        let path = self.routes[number].path;
        if !self.bridges[path.to].up {
            return;
        }
        while let Some(action) = self.poll_inbound(number) {
            match action {
                Action::Send(frame) => {
                    if let (Frame::Resume(_), Some(inbound)) =
                        (&frame, self.routes[number].inbound.as_mut())
                    {
                        inbound.resumes_seen_at = inbound.described_at;
                    }
                    self.send_frame(path.to, &frame);
                }
                Action::Decode(head, body) => self.decode(number, &head, &body),
                Action::Save { checkpoint, now } => self.save(number, checkpoint, now),
                Action::Report(report) => {
                    self.tell(|| format!("route {number} reports {report:?}"));
                    if report == Report::TargetWentBack {
                        let inbound = self.routes[number].inbound.as_ref();
                        let incarnation =
                            inbound.map_or(0, |inbound| inbound.described_incarnation);
                        self.oracle.went_back_reported(number, incarnation);
                    }
                }
                action => {
                    if let Some(inbound) = self.routes[number].inbound.as_mut() {
                        inbound.next = Some(action);
                    }
                }
            }
        }
        self.set_timer(number);
        self.ask_target(number);
        self.check_memory(number);
    }

    fn poll_inbound(&mut self, number: usize) -> Option<Action> {
        self.routes[number].inbound.as_mut()?.receiver.poll_action()
    }

    fn set_timer(&mut self, number: usize) {
        let (to, now) = (self.routes[number].path.to, self.now);
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        let due = inbound.receiver.poll_timeout();
        if let Some(at) = due
            && inbound.timer.is_none_or(|set| at < set)
        {
            inbound.timer = Some(at);
            self.later(to, at.saturating_sub(now), BridgeEvent::Wake);
        }
    }

    /// I7: what is decoded is bounded by the setting and one batch.
    fn check_memory(&mut self, number: usize) {
        let Some(inbound) = self.routes[number].inbound.as_ref() else {
            return;
        };
        let largest = self.options.batch_len_max + self.options.filler_max + 100;
        let (held, max) = (
            inbound.receiver.decoded_len(),
            self.options.decoded_max + largest,
        );
        if held > max {
            self.oracle.fail(format!(
                "I7: route {number} holds {held} decoded bytes, at most {max}"
            ));
        }
    }

    fn decode(&mut self, number: usize, head: &BatchHead, body: &[u8]) {
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        let mut decoder = match inbound.decoder.take() {
            Some((lane, decoder)) if lane == head.lane => decoder,
            _ => LaneDecoder::new(),
        };
        let result = decoder.decode(head, body);
        inbound.decoder = Some((head.lane, decoder));
        if let Err(fault) = inbound
            .receiver
            .handle_decoded(head.lane, head.epoch, result)
        {
            self.refuse_lane(number, head.lane, &fault.to_string());
        }
    }

    fn save(&mut self, number: usize, checkpoint: TargetCheckpoint, now: bool) {
        let path = self.routes[number].path;
        let target = &self.servers[path.to].streams[path.target];
        let source = &self.servers[path.from].streams[path.source];
        // What is kept while the target is being looked at speaks of it as it was before; nothing is published on it.
        if let Some(inbound) = self.routes[number].inbound.as_ref()
            && !inbound.receiver.is_reconciling()
        {
            let seen = inbound.described_at;
            self.oracle
                .target_checkpoint(number, &checkpoint, target, source, seen);
        }
        self.bridges[path.to]
            .store
            .put(&target_key(number), checkpoint.encode());
        if now {
            let after = self.some(Duration::from_millis(20));
            self.later(path.to, after, BridgeEvent::Saved(number));
        }
    }

    pub(super) fn saved(&mut self, number: usize) {
        let to = self.routes[number].path.to;
        self.bridges[to].store.flush();
        if let Some(inbound) = self.routes[number].inbound.as_mut() {
            inbound.receiver.handle_saved();
        }
    }

    fn ask_target(&mut self, number: usize) {
        let path = self.routes[number].path;
        let after = self.local_latency();
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        let Some(connection) = inbound.connection.filter(|_| !inbound.busy) else {
            return;
        };
        let Some(next) = inbound.next.take() else {
            return;
        };
        inbound.busy = true;
        let server = &self.servers[path.to];
        let answers = server.up && server.quorum;
        let stream = &server.streams[path.target];
        let event = match next {
            Action::Describe => {
                inbound.described_incarnation = stream.incarnation;
                let facts = answers
                    .then(|| stream.target_facts())
                    .ok_or_else(unreachable);
                BridgeEvent::Described(number, connection, facts, self.now)
            }
            Action::Scan { from, to, through } => {
                let seen = answers
                    .then(|| stream.scan(number, from, to, through))
                    .ok_or_else(unreachable);
                BridgeEvent::Scanned(number, connection, seen)
            }
            Action::Publish(run) => return self.publish_run(number, connection, &run),
            other => return self.oracle.fail(format!("nothing for a target: {other:?}")),
        };
        self.tell(|| format!("route {number} hears {event:?}"));
        self.later(path.to, after, event);
    }

    pub(super) fn described(
        &mut self,
        number: usize,
        connection: u64,
        result: Result<TargetFacts, Stalled>,
        at: Duration,
    ) {
        let now = self.now;
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        inbound.busy = false;
        if inbound.connection != Some(connection) {
            return; // a new connection will ask anew
        }
        match result {
            Ok(facts) => {
                inbound.described_at = at;
                inbound.receiver.handle_target_up(facts, now);
                self.oracle.target_described(number, at);
                let path = self.routes[number].path;
                self.covers
                    .looked((path.to, path.target), at, facts.last_seq.0);
            }
            Err(stalled) => inbound.receiver.handle_target_down(stalled, now),
        }
    }

    pub(super) fn scanned(
        &mut self,
        number: usize,
        connection: u64,
        result: Result<Scanned, Stalled>,
    ) {
        let now = self.now;
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        inbound.busy = false;
        if inbound.connection != Some(connection) {
            return;
        }
        match result {
            Ok(scanned) => inbound.receiver.handle_scanned(scanned, now),
            Err(stalled) => inbound.receiver.handle_target_down(stalled, now),
        }
    }
}

fn unreachable() -> Stalled {
    Stalled {
        reason: StallReason::TargetUnreachable,
        detail: "no answer".into(),
    }
}

/// What the publisher makes of a record.
fn message(record: &RecordView<'_>, route: usize, from: usize, again: Option<u32>) -> Message {
    let at = Position {
        seq: record.seq,
        stored_at: record.stored_at,
    };
    let mut hops = if record.relayed {
        record.headers.to_vec()
    } else {
        Vec::new()
    };
    hops.push(from as u8);
    Message {
        subject: String::from_utf8_lossy(record.subject).into_owned(),
        payload: Bytes::copy_from_slice(record.payload),
        stamp: Some(Stamp {
            route,
            at,
            hops,
            again,
        }),
    }
}
