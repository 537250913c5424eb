//! Tells the board what links and connections know about themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};

use causeway_proto::id::RegionId;
use tokio::sync::watch;

use crate::clock::now_unix_seconds;
use crate::link::Session as Connection;
use crate::nats::{Client, State};
use crate::status::{Board, ConnectionStatus, LinkState, LinkStatus};

/// Follows a data connection. Ends with the client.
pub(super) async fn follow(client: Client, told: watch::Sender<ConnectionStatus>) {
    let mut states = client.watch();
    drop(client);
    let mut was_up = false;
    loop {
        let state = states.borrow_and_update().clone();
        told.send_modify(|status| match state {
            State::Connected { info, .. } => {
                status.reconnects += u64::from(was_up);
                was_up = true;
                status.up = true;
                status.reason = None;
                status.server = Some(format!(
                    "{} {} at {}",
                    info.server_name, info.version, info.address
                ));
            }
            State::Connecting { reason, .. } => {
                status.up = false;
                status.reason = reason.map(|why| why.to_string());
            }
            State::Closed => {
                status.up = false;
                status.reason = Some("shut down".into());
            }
        });
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// Tells of the connection for questions, as async-nats sees it.
pub(super) fn note_control(told: &watch::Sender<ConnectionStatus>, event: &async_nats::Event) {
    use async_nats::Event;
    match event {
        Event::Connected => told.send_modify(|status| {
            // The server's name is only set once it has been up.
            status.reconnects += u64::from(status.server.is_some());
            status.server.get_or_insert_default();
            status.up = true;
            status.reason = None;
        }),
        Event::Disconnected | Event::Closed => told.send_modify(|status| {
            status.up = false;
            status.reason = Some("disconnected".into());
        }),
        Event::ClientError(why) => told.send_modify(|status| {
            if !status.up {
                status.reason = Some(why.to_string());
            }
        }),
        _ => {}
    }
}

/// Tells of one link.
#[derive(Debug)]
pub(super) struct LinkTeller {
    status: watch::Sender<LinkStatus>,
    /// Written when a connection ends, read once a second: never contended.
    memory: Mutex<Memory>,
}

/// What a link's connections leave behind.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    was_up: bool,
    sent_bytes: u64,
    received_bytes: u64,
    lost_packets: u64,
}

impl LinkTeller {
    /// A teller of a link, shown on the board from now on.
    pub(super) fn new(peer: RegionId, board: &Board) -> Self {
        let status = board.register_link(LinkStatus::new(peer));
        Self {
            status,
            memory: Mutex::default(),
        }
    }

    /// A connection stands, and the two sides say hello.
    pub(super) fn handshaking(&self, connection: &Connection) {
        let address = connection.connection().remote_address().to_string();
        self.status
            .send_modify(|status| status.address = Some(address));
        self.enter(LinkState::Handshaking, None);
    }

    /// Records can flow.
    pub(super) fn up(&self, residency_skew: bool) {
        let again = std::mem::replace(&mut self.memory().was_up, true);
        self.status.send_modify(|status| {
            status.residency_skew = residency_skew;
            status.reconnects += u64::from(again);
        });
        self.enter(
            LinkState::Up,
            residency_skew.then(|| "residency rules differ".into()),
        );
    }

    /// The connection is gone, or there never was one.
    pub(super) fn down(&self, why: &str) {
        {
            let (status, mut memory) = (self.status.borrow(), self.memory());
            memory.sent_bytes = status.sent_bytes;
            memory.received_bytes = status.received_bytes;
            memory.lost_packets = status.lost_packets;
        }
        self.status.send_modify(|status| status.rtt_ms = None);
        self.enter(LinkState::Down, Some(why.to_owned()));
    }

    /// Copies quinn's counters.
    pub(super) fn observe(&self, connection: &Connection) {
        let quic = connection.connection();
        let stats = quic.stats();
        let before = *self.memory();
        self.status.send_modify(|status| {
            status.rtt_ms = Some((quic.rtt().as_secs_f64() * 1e6).round() / 1e3);
            status.sent_bytes = before.sent_bytes + stats.udp_tx.bytes;
            status.received_bytes = before.received_bytes + stats.udp_rx.bytes;
            status.lost_packets = before.lost_packets + stats.path.lost_packets;
        });
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, state: LinkState, reason: Option<String>) {
        self.status.send_modify(|status| {
            if status.state != state {
                status.since = Some(now_unix_seconds());
            }
            status.state = state;
            status.reason = reason;
        });
    }
}
