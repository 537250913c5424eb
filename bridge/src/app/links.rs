//! One task a link: brings connections about, keeps the one that `proto` says, runs its session.

mod dialling;
mod keeper;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use causeway_config::plan::Plan;
use causeway_proto::contest::ConnectionId;
use causeway_proto::frame::Hello;
use causeway_proto::id::RegionId;
use causeway_proto::version::ProtoVersion;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use self::keeper::Link;
use self::steps::Step;
use super::observe::LinkTeller;
use crate::link::{Dialer, Refusals, Session as Connection};
use crate::session::{RouteHandle, Session, SessionEnd, greet};

/// Where a link's connections come from: at least one of the two.
pub(super) struct Ends {
    /// We dial.
    pub(super) dialer: Option<Dialer>,
    /// The peer dials; its connections arrive here.
    pub(super) callers: Option<mpsc::Receiver<Connection>>,
    /// Our dials go before the peer's.
    pub(super) goes_first: bool,
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
    /// Runs until the process closes its links.
    pub(super) async fn run(self, ends: Ends) {
        let hello = self.hello();
        Link::new(&self, &hello, ends).run().await;
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

    /// The session on a connection, from `Hello` where that is still owed, to its end.
    async fn serve(
        &self,
        id: ConnectionId,
        connection: Box<Connection>,
        owed: Option<&Hello>,
        stop: Arc<Notify>,
    ) -> Step {
        if let Some(hello) = owed
            && let Err(end) = greet(&connection, hello).await
        {
            return Step::Ended(id, connection, Box::new(end), Duration::ZERO);
        }
        let start = Instant::now();
        let session = Session::new(*connection, &self.routes);
        let observe = |connection: &Connection| self.teller.observe(connection);
        let (connection, end) = session.run(&stop, observe).await;
        Step::Ended(id, Box::new(connection), Box::new(end), start.elapsed())
    }
}
