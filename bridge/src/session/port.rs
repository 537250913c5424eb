//! How the session and a route's driver reach each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use causeway_proto::codec::BatchHead;
use causeway_proto::frame::{Frame, LaneClass};
use causeway_proto::id::{LaneId, RouteName};
use tokio::sync::{mpsc, oneshot};

use super::egress::Offer;
use crate::link::Pace;

/// Frames and batches that may wait for a driver. Drivers take everything at once; the bound is for
/// the case that one is broken.
const DRIVER_QUEUE: usize = 8192;

/// What a driver hears.
#[derive(Debug)]
pub enum RouteEvent {
    /// A session stands.
    Up(Port),
    /// It is gone.
    Down,
    /// A frame of one of the driver's lanes.
    Frame(Frame),
    /// A batch of one of the driver's lanes.
    Batch(BatchHead, Bytes),
}

/// Which way a route's records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// They leave here.
    Out,
    /// They arrive here.
    In,
}

/// A driver as the session sees it.
#[derive(Debug, Clone)]
pub struct RouteHandle {
    /// The route.
    pub name: RouteName,
    /// Which way.
    pub direction: Direction,
    pub(super) events: mpsc::Sender<RouteEvent>,
}

impl RouteHandle {
    /// A handle, and what the driver listens to.
    pub fn new(name: RouteName, direction: Direction) -> (Self, mpsc::Receiver<RouteEvent>) {
        let (events, receiver) = mpsc::channel(DRIVER_QUEUE);
        (
            Self {
                name,
                direction,
                events,
            },
            receiver,
        )
    }
}

/// A driver's way out through the session.
#[derive(Debug, Clone)]
pub struct Port {
    pub(super) driver: usize,
    pub(super) frames: mpsc::Sender<(usize, Frame)>,
    pub(super) offers: mpsc::Sender<Offer>,
    pub(super) next_lane: Arc<AtomicU32>,
    pub(super) pace: Arc<Pace>,
}

impl Port {
    /// A lane number that the session has not used.
    pub fn new_lane(&self) -> LaneId {
        LaneId(self.next_lane.fetch_add(2, Ordering::Relaxed))
    }

    /// Bits a second that the link lets through now, if that is known.
    pub fn rate(&self) -> Option<u64> {
        self.pace.mean()
    }

    /// Whether the link lets no batch leave, as one does that has used its month's bytes.
    pub fn is_held(&self) -> bool {
        self.pace.is_held()
    }

    /// Sends a frame. An error means that the session is gone; `Down` follows.
    pub async fn send(&self, frame: Frame) -> Result<(), SessionGone> {
        self.frames
            .send((self.driver, frame))
            .await
            .map_err(|_| SessionGone)
    }

    /// Offers a lane's batch to the link; done when the link has taken all of it. One batch a lane
    /// at a time. Cancelled before anything of it has left, it does not leave; later, it leaves whole.
    pub async fn send_batch(
        self,
        lane: LaneId,
        class: LaneClass,
        head: Bytes,
        body: Bytes,
    ) -> Result<(), SessionGone> {
        let (taken, is_taken) = oneshot::channel();
        let offer = Offer {
            lane,
            class,
            head,
            body,
            taken,
        };
        self.offers.send(offer).await.map_err(|_| SessionGone)?;
        is_taken.await.map_err(|_| SessionGone)
    }
}

/// The session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is gone")]
pub struct SessionGone;
