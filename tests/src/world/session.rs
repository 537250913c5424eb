//! The sessions of the link: they begin, carry, and end.

use std::time::Duration;

use causeway_proto::codec::BatchHead;
use causeway_proto::error::PeerMisbehaved;
use causeway_proto::frame::{CloseLane, Frame, LaneCloseReason, clip_detail};
use causeway_proto::handshake::check_hello;
use causeway_proto::id::{FleetName, LaneId};

use super::route::region;
use super::{Event, World};
use crate::net::{Content, Packet, SIDES};

const CONNECT_INTERVAL: Duration = Duration::from_millis(150);

impl World {
    pub(super) fn connect(&mut self) {
        let after = CONNECT_INTERVAL + self.some(CONNECT_INTERVAL);
        self.queue.push(self.now + after, Event::Connect);
        let ready = |side: usize| {
            let bridge = &self.bridges[side];
            bridge.up && bridge.paused_until.is_none_or(|until| until <= self.now)
        };
        let wanted = SIDES
            .into_iter()
            .any(|side| self.link.session[side].is_none());
        if !wanted || !self.link.is_whole() || !SIDES.into_iter().all(ready) {
            return;
        }
        for side in SIDES {
            if self.link.session[side].is_some() {
                self.session_down(side); // superseded
            }
        }
        self.shake_hands();
        let session = self.link.connect();
        self.tell(|| format!("session {session} begins"));
        for side in SIDES {
            let bridge = &mut self.bridges[side];
            bridge.next_lane = side as u32;
            bridge.lanes.clear();
            bridge.wire.clear();
        }
        SIDES.into_iter().for_each(|side| self.pump(side));
    }

    /// Both greet over the wire's own encoding.
    fn shake_hands(&mut self) {
        let hello = |side: usize| causeway_proto::frame::Hello {
            version_min: 1,
            version_max: 1,
            fleet: FleetName::new("acme").expect("a plain name"),
            region: region(side),
            incarnation: self.bridges[side].generation,
            residency_digest: 1,
        };
        let bytes = Frame::from(hello(1))
            .encode()
            .expect("our own names are within their bounds");
        let Ok(Frame::Hello(peer)) = Frame::decode_message(&bytes) else {
            return self.oracle.fail("a Hello does not survive the wire".into());
        };
        if let Err(fault) = check_hello(&hello(0), &peer, &region(1), &region(1)) {
            self.oracle.fail(format!("handshake refused: {fault}"));
        }
    }

    /// A side gives up its session.
    pub(super) fn lose_session(&mut self, side: usize, session: u64) {
        if self.link.session[side] != Some(session) {
            return;
        }
        let bridge = &self.bridges[side];
        if let Some(until) = bridge
            .paused_until
            .filter(|until| bridge.up && *until > self.now)
        {
            self.queue.push(until, Event::SessionLost(side, session));
            return;
        }
        self.tell(|| format!("side {side} gives session {session} up"));
        self.link.session[side] = None;
        self.session_down(side);
        self.pump(side);
    }

    fn session_down(&mut self, side: usize) {
        for number in 0..self.routes.len() {
            let path = self.routes[number].path;
            if path.from == side {
                self.close_lane(number);
            }
            if path.to == side {
                self.drop_lane(number);
            }
        }
    }

    /// A lane number that the session has not used.
    pub(super) fn new_lane(&mut self, side: usize, route: usize) -> LaneId {
        let bridge = &mut self.bridges[side];
        let lane = LaneId(bridge.next_lane);
        bridge.next_lane += 2;
        bridge.lanes.insert(lane, route);
        lane
    }

    pub(super) fn send_frame(&mut self, side: usize, frame: &Frame) {
        self.tell(|| format!("side {side} sends {frame:?}"));
        let bytes = match frame.encode() {
            Ok(bytes) => bytes,
            Err(fault) => {
                return self
                    .oracle
                    .fail(format!("{frame:?} cannot be encoded: {fault}"));
            }
        };
        self.send(side, Content::Frame(bytes));
    }

    pub(super) fn send(&mut self, side: usize, content: Content) {
        let Some(session) = self.link.session[side] else {
            return;
        };
        let packet = Packet {
            session,
            to: 1 - side,
            content,
        };
        if let Some((at, packet)) = self.link.send(packet, self.now, &mut self.rng) {
            self.queue.push(at, Event::Deliver(packet));
        }
    }

    pub(super) fn deliver(&mut self, packet: Packet) {
        let side = packet.to;
        let bridge = &self.bridges[side];
        if !bridge.up || self.link.session[side] != Some(packet.session) {
            return;
        }
        if let Some(until) = bridge.paused_until.filter(|until| *until > self.now) {
            self.queue.push(until, Event::Deliver(packet));
            return;
        }
        match packet.content {
            Content::Frame(bytes) => match Frame::decode_message(&bytes) {
                Ok(frame) => self.frame_arrives(side, frame),
                Err(fault) => self
                    .oracle
                    .fail(format!("a frame does not decode: {fault}")),
            },
            Content::Batch(head, body) => match BatchHead::decode(&head) {
                Ok(head) => {
                    if let Some(number) = self.bridges[side].lanes.get(&head.lane).copied() {
                        self.batch_arrives(number, head, body);
                    }
                }
                Err(fault) => self
                    .oracle
                    .fail(format!("a batch head does not decode: {fault}")),
            },
        }
        self.pump(side);
    }

    fn frame_arrives(&mut self, side: usize, frame: Frame) {
        let lane = match &frame {
            Frame::Open(open) => {
                let Some(number) = self
                    .routes
                    .iter()
                    .position(|route| route.name == open.route)
                else {
                    return self.oracle.fail(format!("unknown route in {open:?}"));
                };
                self.bridges[side].lanes.insert(open.lane, number);
                open.lane
            }
            Frame::Resume(resume) => resume.lane,
            Frame::Credit(credit) => credit.lane,
            Frame::Ack(ack) => ack.lane,
            Frame::Rejected(rejected) => rejected.lane,
            Frame::Stall(stall) => stall.lane,
            Frame::CloseLane(close) => close.lane,
            Frame::Hello(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Goodbye(_) => return,
        };
        let Some(number) = self.bridges[side].lanes.get(&lane).copied() else {
            return self.oracle.fail(format!("{frame:?} names no lane"));
        };
        if self.routes[number].path.from == side {
            let result = self.outbound_frame(number, frame);
            if let Err(fault) = result {
                self.misbehaved(number, fault);
            }
        } else {
            self.inbound_frame(number, frame);
        }
    }

    /// One of our own state machines blames the other: one of the two is wrong.
    fn misbehaved(&mut self, number: usize, fault: PeerMisbehaved) {
        self.oracle
            .fail(format!("route {number}: the source's side says: {fault}"));
    }

    /// A lane is wrong in the eyes of its target.
    pub(super) fn refuse_lane(&mut self, number: usize, lane: LaneId, fault: &str) {
        self.oracle
            .fail(format!("route {number}: the target's side says: {fault}"));
        self.drop_lane(number);
        let reason = LaneCloseReason::Misbehaved;
        let close = CloseLane {
            lane,
            reason,
            detail: clip_detail(fault),
        };
        self.send_frame(self.routes[number].path.to, &Frame::CloseLane(close));
    }
}
