//! One session: the protocol state agreed on one connection, between the link and the routes' drivers.
//!
//! The session owns who may speak on which lane. It shakes hands, then carries frames between the
//! connection's control stream and the drivers, and hands each batch to the driver of its lane. It
//! never waits for a driver: a driver that lets its queue fill loses the session, not the process. One
//! that has ended, as those of arriving routes do first when the process stops, loses its lanes alone.
//!
//! Lanes are numbered by their source side: even numbers on the side that dialled, odd on the other,
//! so that a number alone tells the direction.

mod egress;
mod end;
mod hello;
mod port;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use causeway_proto::codec::BatchHead;
use causeway_proto::error::{DecodeError, PeerMisbehaved};
use causeway_proto::frame::{CloseLane, Frame, LaneCloseReason, Ping, Pong};
use causeway_proto::handshake::later_frame;
use causeway_proto::id::LaneId;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::interval;

use self::egress::{Egress, OFFERS, Offer};
pub use self::end::SessionEnd;
pub use self::hello::{greet, hear};
pub use self::port::{Direction, Port, RouteEvent, RouteHandle, SessionGone};
use crate::link::{IncomingBatch, Session as Connection};

/// Frames that may wait for the control stream.
const CONTROL_QUEUE: usize = 256;
/// A peer that has not said `Hello` by then is not a peer.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Lanes of a session: the peer's, closed ones included, and those of ours that stand. A route whose lanes end as soon as they
/// begin opens two a second; after hours of that the session is made anew.
const LANES_MAX: usize = 1 << 16;

/// Done when a driver, whose number it brings, takes nothing more.
type DriverEnd = Pin<Box<dyn Future<Output = usize> + Send>>;

/// A session that shook hands. Runs until the connection or the protocol ends.
pub struct Session<'a> {
    connection: Connection,
    routes: &'a [RouteHandle],
    lanes: HashMap<LaneId, usize>,
    /// Drivers of arriving routes.
    ends: FuturesUnordered<DriverEnd>,
    frames_tx: mpsc::Sender<(usize, Frame)>,
    frames: mpsc::Receiver<(usize, Frame)>,
    offers: mpsc::Sender<Offer>,
    next_lane: Arc<AtomicU32>,
    /// The largest number of a lane that the peer has opened.
    peers_last: LaneId,
    pings: u64,
}

enum Action {
    FromPeer(Bytes),
    FromDriver(usize, Frame),
    Batch(IncomingBatch),
    DriverEnded(usize),
    Ping,
    Lost,
}

impl<'a> Session<'a> {
    /// Starts the way out for batches.
    pub fn new(connection: Connection, routes: &'a [RouteHandle]) -> Self {
        let (frames_tx, frames) = mpsc::channel(CONTROL_QUEUE);
        let (offers, offered) = mpsc::channel(OFFERS);
        tokio::spawn(Egress::new(&connection, offered).run());
        let first_lane = if connection.dialled_by_us { 2 } else { 1 };
        let next_lane = Arc::new(AtomicU32::new(first_lane));
        let arriving = routes.iter().enumerate();
        let arriving = arriving.filter(|(_, route)| route.direction == Direction::In);
        let ends = arriving.map(|(driver, route)| await_end(driver, route.events.clone()));
        Self {
            connection,
            routes,
            lanes: HashMap::new(),
            ends: ends.collect(),
            frames_tx,
            frames,
            offers,
            next_lane,
            peers_last: LaneId(0),
            pings: 0,
        }
    }

    /// The connection, for its counters.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs the session; `observe` is called about once a second for status.
    /// `stop` ends it.
    pub async fn run(
        mut self,
        stop: &Notify,
        observe: impl Fn(&Connection),
    ) -> (Connection, SessionEnd) {
        let end = match self.announce() {
            Ok(()) => self.serve(stop, &observe).await,
            Err(end) => end,
        };
        for route in self.routes {
            // A full queue delivers nothing: the driver then sees its port fail instead.
            let _ = route.events.try_send(RouteEvent::Down);
        }
        (self.connection, end)
    }

    fn announce(&self) -> Result<(), SessionEnd> {
        for (driver, route) in self.routes.iter().enumerate() {
            let port = Port {
                driver,
                frames: self.frames_tx.clone(),
                offers: self.offers.clone(),
                next_lane: Arc::clone(&self.next_lane),
                pace: Arc::clone(&self.connection.pace),
            };
            self.tell(driver, RouteEvent::Up(port))?;
            tracing::debug!(route = %route.name, "route has a session");
        }
        Ok(())
    }

    async fn serve(&mut self, stop: &Notify, observe: &impl Fn(&Connection)) -> SessionEnd {
        let mut ping = interval(PING_INTERVAL);
        let mut second = interval(Duration::from_secs(1));
        let (frame, batch) = self.connection.take_seen();
        let seen = frame
            .map(Action::FromPeer)
            .into_iter()
            .chain(batch.map(Action::Batch));
        for action in seen {
            if let Err(end) = self.apply(action).await {
                return end;
            }
        }
        loop {
            let action = tokio::select! {
                biased;
                frame = self.connection.control_rx.recv() => frame.map_or(Action::Lost, Action::FromPeer),
                Some((driver, frame)) = self.frames.recv() => Action::FromDriver(driver, frame),
                batch = self.connection.batches_rx.recv() => batch.map_or(Action::Lost, Action::Batch),
                // Behind `frames`: what the driver said last comes first.
                Some(driver) = self.ends.next() => Action::DriverEnded(driver),
                () = stop.notified() => return SessionEnd::Stopped,
                _ = ping.tick() => Action::Ping,
                _ = second.tick() => { observe(&self.connection); continue; }
            };
            if let Err(end) = self.apply(action).await {
                return end;
            }
        }
    }

    async fn apply(&mut self, action: Action) -> Result<(), SessionEnd> {
        match action {
            Action::Lost => Err(SessionEnd::Lost),
            Action::FromPeer(bytes) => self.handle_frame(Frame::decode_message(&bytes)?).await,
            Action::FromDriver(driver, frame) => {
                match &frame {
                    Frame::Open(open) => drop(self.lanes.insert(open.lane, driver)),
                    Frame::CloseLane(close) => self.forget(close.lane),
                    _ => {}
                }
                self.send(&frame).await
            }
            Action::Batch(batch) => self.handle_batch(batch),
            Action::DriverEnded(driver) => self.close_lane_of(driver).await,
            Action::Ping => {
                self.pings += 1;
                self.send(&Frame::Ping(Ping { nonce: self.pings })).await
            }
        }
    }

    async fn handle_frame(&mut self, frame: Frame) -> Result<(), SessionEnd> {
        let frame = later_frame(frame)?;
        let lane = match &frame {
            Frame::Ping(ping) => return self.send(&Frame::Pong(Pong { nonce: ping.nonce })).await,
            Frame::Pong(pong) if pong.nonce <= self.pings => return Ok(()),
            Frame::Pong(_) => return Err(PeerMisbehaved::UnexpectedPong.into()),
            Frame::Goodbye(goodbye) => return Err(SessionEnd::Goodbye(goodbye.reason)),
            Frame::Open(open) => return self.handle_open(open.lane, frame).await,
            Frame::Hello(_) => return Err(PeerMisbehaved::SecondHello.into()),
            Frame::Resume(resume) => resume.lane,
            Frame::Credit(credit) => credit.lane,
            Frame::Ack(ack) => ack.lane,
            Frame::Rejected(rejected) => rejected.lane,
            Frame::Stall(stall) => stall.lane,
            Frame::CloseLane(close) => close.lane,
        };
        let Some(driver) = self.lanes.get(&lane).copied() else {
            return match self.is_over(lane) {
                true => Ok(()), // it was on the way
                false => Err(PeerMisbehaved::LaneUnknown(lane).into()),
            };
        };
        if matches!(frame, Frame::CloseLane(_)) {
            self.forget(lane);
        }
        self.tell(driver, RouteEvent::Frame(frame))
    }

    fn is_ours(&self, lane: LaneId) -> bool {
        lane.0 % 2 == self.next_lane.load(Ordering::Relaxed) % 2
    }

    /// Nothing more is to come on a lane of ours. Those of the peer are kept, so that it cannot use a number twice.
    fn forget(&mut self, lane: LaneId) {
        if self.is_ours(lane) {
            self.lanes.remove(&lane);
        }
    }

    /// Whether a lane that is not known was one: of ours a closed one, of the peer's one that was refused.
    fn is_over(&self, lane: LaneId) -> bool {
        let was_given = match self.is_ours(lane) {
            true => lane.0 < self.next_lane.load(Ordering::Relaxed),
            false => lane <= self.peers_last,
        };
        lane != LaneId(0) && was_given
    }

    async fn handle_open(&mut self, lane: LaneId, frame: Frame) -> Result<(), SessionEnd> {
        let Frame::Open(open) = &frame else {
            return Ok(());
        };
        if self.is_ours(lane) || self.lanes.contains_key(&lane) {
            return Err(PeerMisbehaved::LaneReused(lane).into());
        }
        if self.lanes.len() >= LANES_MAX {
            return Err(PeerMisbehaved::TooManyLanes(LANES_MAX as u32).into());
        }
        self.peers_last = self.peers_last.max(lane);
        let wanted =
            |route: &RouteHandle| route.direction == Direction::In && route.name == open.route;
        let Some(driver) = self.routes.iter().position(wanted) else {
            let detail = format!("no route {} arrives here from this region", open.route);
            let reason = LaneCloseReason::RouteUnknown;
            return self
                .send(&Frame::CloseLane(CloseLane {
                    lane,
                    reason,
                    detail,
                }))
                .await;
        };
        self.lanes.insert(lane, driver);
        if self.routes[driver].events.is_closed() {
            return self.close_lane_of(driver).await;
        }
        self.tell(driver, RouteEvent::Frame(frame))
    }

    /// Nobody takes the lane of an arriving route any more: its source need not wait for answers.
    async fn close_lane_of(&mut self, driver: usize) -> Result<(), SessionEnd> {
        let own = self.lanes.iter().filter(|(_, owner)| **owner == driver);
        // Each lane takes the place of the one before.
        let Some(lane) = own.map(|(lane, _)| *lane).max() else {
            return Ok(());
        };
        let detail = format!("route {} is not taken here now", self.routes[driver].name);
        let reason = LaneCloseReason::Shutdown;
        self.send(&Frame::CloseLane(CloseLane {
            lane,
            reason,
            detail,
        }))
        .await
    }

    fn handle_batch(&mut self, batch: IncomingBatch) -> Result<(), SessionEnd> {
        let whole = &batch.bytes;
        let Some((head, len)) = BatchHead::decode_prefix(whole).map_err(SessionEnd::Batch)? else {
            let (field, offset) = ("batch head", whole.len());
            return Err(SessionEnd::Batch(DecodeError::Truncated { field, offset }));
        };
        if whole.len() - len != head.body_len as usize {
            let (field, value) = ("body length", u64::from(head.body_len));
            return Err(SessionEnd::Batch(DecodeError::OutOfRange { field, value }));
        }
        let body = batch.bytes.slice(len..);
        match self.lanes.get(&head.lane) {
            Some(driver) => self.tell(*driver, RouteEvent::Batch(head, body)),
            None => Ok(()), // its lane was closed while it was on the way
        }
    }

    /// What a driver that has ended does not take is read again by another lane.
    fn tell(&self, driver: usize, event: RouteEvent) -> Result<(), SessionEnd> {
        match self.routes[driver].events.try_send(event) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(SessionEnd::DriverStuck),
        }
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), SessionEnd> {
        let bytes = match frame.encode() {
            Ok(bytes) => bytes,
            Err(fault) => {
                tracing::error!(%fault, frame = frame.name(), "frame of our own cannot be encoded");
                return Ok(());
            }
        };
        self.connection
            .control
            .send(bytes)
            .await
            .map_err(|_| SessionEnd::Lost)
    }
}

fn await_end(driver: usize, events: mpsc::Sender<RouteEvent>) -> DriverEnd {
    Box::pin(async move {
        events.closed().await;
        driver
    })
}
