//! One task a link: connect, shake hands, run the session, and again.

use std::sync::Arc;
use std::time::Duration;

use causeway_config::plan::Plan;
use causeway_proto::error::CloseReason;
use causeway_proto::frame::Hello;
use causeway_proto::id::RegionId;
use causeway_proto::version::ProtoVersion;
use tokio::sync::{Notify, mpsc, watch};

use super::observe::LinkTeller;
use crate::backoff::Backoff;
use crate::link::{Dialer, Identity, PathHints, Refusals, Session as Connection};
use crate::session::{RouteHandle, Session, SessionEnd, shake_hands};

/// First and longest wait between attempts, before jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Where sessions come from.
pub(super) enum Ends {
    /// We dial.
    Dial(Box<Dialer>),
    /// The peer dials; its connections arrive here.
    Listen(mpsc::Receiver<Connection>),
}

impl Ends {
    pub(super) fn dial(
        identity: Identity,
        peer: RegionId,
        address: String,
        hints: PathHints,
    ) -> Self {
        Self::Dial(Box::new(Dialer::new(identity, peer, address, hints)))
    }

    /// The next connection. `None`: this attempt failed, and was reported.
    async fn connect(&mut self, peer: &RegionId, last_error: &mut String) -> Option<Connection> {
        match self {
            Self::Dial(dialer) => match dialer.dial().await {
                Ok(connection) => Some(connection),
                Err(why) => {
                    let why = why.to_string();
                    if *last_error != why {
                        tracing::warn!(%peer, why, "link cannot be dialled; trying on");
                        *last_error = why;
                    }
                    None
                }
            },
            Self::Listen(connections) => connections.recv().await,
        }
    }

    /// A newer connection of the same peer.
    async fn newer(&mut self) -> Connection {
        if let Self::Listen(connections) = self
            && let Some(connection) = connections.recv().await
        {
            return connection;
        }
        std::future::pending().await
    }
}

/// See the module.
pub(super) struct LinkTask {
    pub(super) teller: LinkTeller,
    pub(super) plan: Arc<Plan>,
    pub(super) here: RegionId,
    pub(super) peer: RegionId,
    pub(super) routes: Vec<RouteHandle>,
    pub(super) incarnation: u64,
    pub(super) refusals: Refusals,
    pub(super) closing: watch::Receiver<bool>,
}

impl LinkTask {
    pub(super) async fn run(self, mut ends: Ends) {
        let mut backoff = Backoff::try_new(BACKOFF_MIN, BACKOFF_MAX)
            .expect("the constants are in order and not zero");
        let mut last_error = String::new();
        let mut waiting = None;
        let mut closing = self.closing.clone();
        while !*closing.borrow() {
            let connection = match waiting.take() {
                Some(connection) => Some(connection),
                None => tokio::select! {
                    connection = ends.connect(&self.peer, &mut last_error) => connection,
                    _ = closing.changed() => return,
                },
            };
            match connection {
                Some(connection) => {
                    if self.serve(connection, &mut ends, &mut waiting).await {
                        backoff.reset();
                        last_error.clear();
                    }
                }
                None if matches!(ends, Ends::Listen(_)) => return, // the listener is gone
                None => self.teller.down(&last_error),
            }
            if waiting.is_none() && matches!(ends, Ends::Dial(_)) {
                let wait = backoff.next_wait(&mut rand::rng());
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Runs one connection to its end. `true`: a session stood.
    async fn serve(
        &self,
        mut connection: Connection,
        ends: &mut Ends,
        waiting: &mut Option<Connection>,
    ) -> bool {
        self.teller.handshaking(&connection);
        let hello = self.hello();
        let (agreed, _) = match shake_hands(&mut connection, &hello, &self.peer).await {
            Ok(agreed) => agreed,
            Err(end) => {
                let why = self.count(&connection, &end);
                tracing::warn!(peer = %self.peer, why, "peer refused");
                self.teller.down(&why);
                connection.close(end.close_reason());
                return false;
            }
        };
        let skew = agreed.residency_skew;
        self.teller.up(skew);
        tracing::info!(peer = %self.peer, skew, "link up");
        let stop = Notify::new();
        let session = Session::new(connection, &self.routes);
        let running = session.run(&stop, |connection| self.teller.observe(connection));
        tokio::pin!(running);
        let mut closing = self.closing.clone();
        let (connection, end) = loop {
            tokio::select! {
                ended = &mut running => break ended,
                newer = ends.newer() => {
                    *waiting = Some(newer);
                    stop.notify_one();
                }
                _ = closing.changed() => stop.notify_one(),
            }
        };
        let why = self.count(&connection, &end);
        if matches!(end, SessionEnd::Stopped) {
            tracing::info!(peer = %self.peer, why, "link down");
        } else {
            tracing::warn!(peer = %self.peer, why, "link down");
        }
        self.teller.observe(&connection);
        self.teller.down(&why);
        let reason = match end {
            SessionEnd::Stopped if waiting.is_some() => CloseReason::Superseded,
            SessionEnd::Stopped => CloseReason::Shutdown,
            end => end.close_reason(),
        };
        connection.close(reason);
        true
    }

    /// Counts an end that was the peer's fault, and says in words why it came.
    fn count(&self, connection: &Connection, end: &SessionEnd) -> String {
        if let Some(fault) = connection.fault() {
            self.refusals.count(fault.label());
            return fault.to_string();
        }
        if end.is_fault() {
            self.refusals.count(end.name());
            return end.to_string();
        }
        connection.end().unwrap_or_else(|| end.to_string())
    }

    fn hello(&self) -> Hello {
        Hello {
            version_min: ProtoVersion::OLDEST.number(),
            version_max: ProtoVersion::NEWEST.number(),
            fleet: self.plan.fleet().clone(),
            region: self.here.clone(),
            incarnation: self.incarnation,
            residency_digest: self.plan.residency().digest(),
        }
    }
}
