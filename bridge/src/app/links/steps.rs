//! What a link waits for on each of its connections.

use std::time::Duration;

use causeway_proto::contest::ConnectionId;
use causeway_proto::frame::Hello;
use causeway_proto::handshake::Agreed;
use causeway_proto::id::RegionId;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::link::Session as Connection;
use crate::session::{HELLO_TIMEOUT, SessionEnd, greet, hear};

/// Something has come of a connection.
pub(super) enum Step {
    /// The peer's `Hello`, or why there is none that will do.
    Heard(
        ConnectionId,
        Box<Connection>,
        Box<Result<Agreed, SessionEnd>>,
    ),
    /// Whether the peer goes on with what it dialled, or we need not know any more.
    Tried(ConnectionId, Box<Connection>, bool),
    /// The session is over, after so long.
    Ended(ConnectionId, Box<Connection>, Box<SessionEnd>, Duration),
}

/// Waits for the peer's `Hello`, after saying our own where we dialled.
pub(super) async fn meet(
    id: ConnectionId,
    mut connection: Box<Connection>,
    own: &Hello,
    peer: &RegionId,
) -> Step {
    let heard = async {
        if connection.dialled_by_us {
            greet(&connection, own).await?;
        }
        hear(&mut connection, own, peer).await
    };
    let heard = heard.await;
    Step::Heard(id, connection, Box::new(heard))
}

/// Answers the peer and waits until it goes on, or until `enough`.
pub(super) async fn try_out(
    id: ConnectionId,
    mut connection: Box<Connection>,
    own: &Hello,
    enough: &Notify,
) -> Step {
    if greet(&connection, own).await.is_err() {
        return Step::Tried(id, connection, false);
    }
    let used = tokio::select! {
        used = timeout(HELLO_TIMEOUT, connection.await_use()) => used.unwrap_or(false),
        () = enough.notified() => true,
    };
    Step::Tried(id, connection, used)
}
