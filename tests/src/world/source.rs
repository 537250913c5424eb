//! The driver of a sender, as the bridge's: it reads, seals, encodes, sends, keeps aside.

mod reading;

use std::time::Duration;

use causeway_proto::codec::{BatchHead, Effort, LaneEncoder};
use causeway_proto::error::PeerMisbehaved;
use causeway_proto::frame::{CloseLane, Frame, LaneCloseReason};
use causeway_proto::id::{Epoch, Position, SourceSeq, StoredAt};
use causeway_proto::record::RecordView;
use causeway_proto::resume::{Beginning, SourceFacts};
use causeway_proto::sender::Admission;
use rand::Rng;

use super::bridge::source_key;
use super::{BridgeEvent, World};
use crate::jetstream::Stored;
use crate::net::Content;

const RETRY: Duration = Duration::from_millis(500);
/// Records that one read brings at most.
const READ_MAX: u64 = 50;

impl World {
    pub(super) fn outbound_frame(
        &mut self,
        number: usize,
        frame: Frame,
    ) -> Result<(), PeerMisbehaved> {
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return Ok(());
        };
        let lane = match &frame {
            Frame::Resume(resume) => resume.lane,
            Frame::Credit(credit) => credit.lane,
            Frame::Ack(ack) => ack.lane,
            Frame::Rejected(rejected) => rejected.lane,
            Frame::CloseLane(close) => close.lane,
            _ => return Ok(()),
        };
        if outbound.sender.lane() != Some(lane) {
            return Ok(()); // of a lane closed meanwhile
        }
        match frame {
            Frame::Resume(resume) => {
                outbound.resume = Some(resume);
            }
            Frame::Credit(credit) => {
                outbound.sender.handle_credit(&credit)?;
                outbound.books.granted = credit.limit;
            }
            Frame::Ack(ack) => {
                outbound.sender.handle_ack(&ack)?;
                outbound
                    .books
                    .unacknowledged
                    .retain(|through| *through > ack.through.0);
                self.oracle.totals(number, outbound.sender.totals());
            }
            Frame::Rejected(rejected) => outbound.sender.handle_rejected(rejected)?,
            Frame::CloseLane(_) => {
                outbound.retry_at = Some(self.now + RETRY);
                self.close_lane(number);
                self.later(self.routes[number].path.from, RETRY, BridgeEvent::Wake);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn close_lane(&mut self, number: usize) {
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        outbound.sender.close();
        outbound.reader = None;
        outbound.encoder = None;
        outbound.ready = None;
        outbound.resume = None;
        outbound.finding = None;
    }

    /// We end the lane ourselves.
    fn end_lane(&mut self, number: usize, reason: LaneCloseReason) {
        let from = self.routes[number].path.from;
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        outbound.retry_at = Some(self.now + RETRY);
        if let Some(lane) = outbound.sender.lane() {
            let close = CloseLane {
                lane,
                reason,
                detail: String::new(),
            };
            self.send_frame(from, &Frame::CloseLane(close));
        }
        self.close_lane(number);
        self.later(from, RETRY, BridgeEvent::Wake);
    }

    /// An operator asks for another place to read from.
    pub(super) fn seek_route(&mut self, number: usize, behind: SourceSeq) {
        self.end_lane(number, LaneCloseReason::Rewind);
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        let checkpoint = &mut outbound.checkpoint;
        checkpoint.epoch = Epoch(checkpoint.epoch.0 + 1);
        checkpoint.first = Some(behind);
        checkpoint.sought = true;
        checkpoint.watermark = Position {
            seq: behind,
            ..Position::default()
        };
        outbound
            .sender
            .raise_epoch(checkpoint.epoch, checkpoint.watermark);
    }

    // --- The link --------------------------------------------------------------------------------

    pub(super) fn pump_outbound(&mut self, number: usize) {
        let from = self.routes[number].path.from;
        if !self.bridges[from].up {
            return;
        }
        self.send_ready(number);
        while self.seal(number) {
            self.send_ready(number);
        }
        self.keep_aside(number);
        let has_session = self.link.session[from].is_some();
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        let idle = outbound.finding.is_none() && outbound.retry_at.is_none();
        if idle && has_session && outbound.sender.lane().is_none() {
            self.open_lane(number);
        } else if idle && let Some(resume) = &outbound.resume {
            let after = resume.after.unwrap_or_default();
            self.find(number, after);
        } else if outbound.reader.is_some() && !outbound.read_due && outbound.sender.wants_records()
        {
            outbound.read_due = true;
            let after = Duration::from_micros(self.rng.random_range(100..20_000));
            self.later(from, after, BridgeEvent::Read(number));
        }
    }

    fn open_lane(&mut self, number: usize) {
        let from = self.routes[number].path.from;
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        if outbound.checkpoint.first.is_none() {
            return self.find(number, Position::default()); // what `start` comes to
        }
        let lane = self.new_lane(from, number);
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        let open = outbound.sender.open(lane);
        self.send_frame(from, &Frame::Open(open));
    }

    /// Seals the open batch if the link is idle or the batch full, and the place behind it is free.
    fn seal(&mut self, number: usize) -> bool {
        let from = self.routes[number].path.from;
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return false;
        };
        if outbound.ready.is_some() || (outbound.sending && !outbound.sender.is_full()) {
            return false;
        }
        let Some(encoder) = outbound.encoder.as_mut() else {
            return false;
        };
        let Some((seq, batch)) = outbound.sender.seal() else {
            return false;
        };
        let lane = outbound.sender.lane().expect("only an open lane seals");
        let epoch = outbound.sender.epoch();
        let encoded = encoder
            .encode(lane, seq, epoch, &batch)
            .expect("a sealed batch is encodable");
        let wire = self.bridges[from].wire.entry(lane).or_default();
        let head = BatchHead::decode(&encoded.head).expect("what was encoded");
        let seen = wire.decode(&head, &encoded.body).expect("what was encoded");
        for record in seen.iter().map_while(Result::ok) {
            self.oracle.on_the_wire(number, record.subject);
        }
        outbound.ready = Some(encoded);
        true
    }

    fn send_ready(&mut self, number: usize) {
        let from = self.routes[number].path.from;
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        let Some(batch) = &outbound.ready else { return };
        let body_len = batch.body.len();
        if outbound.sending || !outbound.sender.may_send(body_len) {
            return;
        }
        let Some(batch) = outbound.ready.take() else {
            return;
        };
        outbound.sender.handle_sent(body_len);
        outbound.sending = true;
        let head = BatchHead::decode(&batch.head).expect("what was encoded");
        let books = &mut outbound.books;
        books.sent += causeway_proto::limits::credit_len(body_len);
        if books.sent > books.granted && !books.unacknowledged.is_empty() {
            let (sent, granted) = (books.sent, books.granted);
            self.oracle.fail(format!(
                "I7: route {number} sent {sent} of {granted} granted"
            ));
        }
        books.unacknowledged.push_back(head.through.0);
        self.tell(|| {
            format!(
                "route {number} sends batch {} of {}: {}..={}",
                head.seq,
                head.lane,
                head.follows.0 + 1,
                head.through
            )
        });
        let busy = self.link.sending_time(batch.wire_len);
        self.send(from, Content::Batch(batch.head, batch.body));
        self.later(from, busy, BridgeEvent::Sent(number));
    }

    pub(super) fn sent(&mut self, number: usize) {
        if let Some(outbound) = self.routes[number].outbound.as_mut() {
            outbound.sending = false;
        }
    }

    // --- Aside, store ------------------------------------------------------------------------------

    fn keep_aside(&mut self, number: usize) {
        let from = self.routes[number].path.from;
        let after = self.local_latency() * 5;
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        if outbound.keeping {
            return;
        }
        let Some(rejected) = outbound.sender.poll_aside() else {
            return;
        };
        outbound.keeping = true;
        let event = BridgeEvent::KeptAside(number, rejected.at.seq, rejected.at.stored_at.0);
        self.later(from, after, event);
    }

    pub(super) fn kept_aside(&mut self, number: usize, seq: SourceSeq, stored_at: u64) {
        self.oracle.kept_aside(number, stored_at);
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        outbound.keeping = false;
        if let Some(kept) = outbound.sender.handle_kept_aside(seq) {
            self.send_frame(self.routes[number].path.from, &Frame::Rejected(kept));
        }
    }

    /// Writes the source's checkpoints of a region.
    pub(super) fn report(&mut self, region: usize) {
        for number in 0..self.routes.len() {
            let path = self.routes[number].path;
            if path.from != region {
                continue;
            }
            let Some(outbound) = self.routes[number].outbound.as_mut() else {
                continue;
            };
            if outbound.sender.is_reading() {
                outbound.checkpoint.watermark = outbound.sender.watermark();
                let stream = &self.servers[path.from].streams[path.source];
                self.oracle.settled(
                    number,
                    outbound.checkpoint.watermark.seq,
                    stream,
                    "the source",
                );
            }
            if outbound.checkpoint != outbound.saved {
                outbound.saved = outbound.checkpoint;
                self.bridges[region]
                    .store
                    .put(&source_key(number), outbound.checkpoint.encode());
            }
        }
    }
}

fn hand_over(
    sender: &mut causeway_proto::sender::Sender,
    seq: u64,
    stored: &Stored,
    to: usize,
) -> Admission {
    let hops = stored
        .message
        .stamp
        .as_ref()
        .map(|stamp| stamp.hops.as_slice());
    let record = RecordView {
        seq: SourceSeq(seq),
        stored_at: StoredAt(stored.stored_at),
        relayed: hops.is_some(),
        subject: stored.message.subject.as_bytes(),
        headers: hops.unwrap_or_default(),
        payload: &stored.message.payload,
    };
    sender.handle_record(&record, hops.is_some_and(|hops| hops.contains(&(to as u8))))
}
