//! The one task that owns socket, parser and outbox, over all connections that come and go.
//!
//! ```text
//!            connect (any server, for ever)
//!      ┌──────────────► serve ───────────────┐ peer closed, black hole, lame duck, shutdown
//!      │                                     ▼
//!      └───────────────────────────────── finish (until the old socket's end is seen, bounded)
//! ```

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::client::Shared;
use super::error::{ConnectError, ConnectErrorKind as Kind, RequestError};
use super::frame::append_subscribe;
use super::handshake::{Established, Info, connect};
use super::options::{Options, ServerAddr};
use super::requests::{Answer, REQUESTS_SID, Requests};
use super::servers::Servers;
use super::state::{Predecessor, ServerInfo, State};
use super::subscription::{Event, Inlet};
use super::wire::Wire;

/// Least delay between attempts when only a person can help; no need to fill the server's log.
const DELAY_NEEDS_PERSON: Duration = Duration::from_secs(2);

/// What handles ask of the connection.
pub(crate) enum Command {
    Subscribe {
        sid: u64,
        inlet: Inlet,
    },
    Unsubscribe {
        sid: u64,
    },
    Publish {
        frame: Bytes,
        generation: u64,
    },
    Request {
        token: u64,
        subject: String,
        frame: Bytes,
        answer: Answer,
    },
    Shutdown {
        done: oneshot::Sender<()>,
    },
}

/// What writers hand over.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) generation: u64,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// All there is of a client, whether connected or not.
pub(crate) struct Connection {
    pub(super) options: Options,
    pub(super) shared: Rc<Shared>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) chunks: mpsc::UnboundedReceiver<Chunk>,
    pub(super) state: watch::Sender<State>,
    pub(super) servers: Servers,
    pub(super) inlets: BTreeMap<u64, Inlet>,
    pub(super) requests: Requests,
    pub(super) generation: u64,
    pub(super) predecessor: Predecessor,
    pub(super) reason: Option<ConnectError>,
    pub(super) is_stopping: bool,
    waiting_for_end: Vec<oneshot::Sender<()>>,
}

impl Connection {
    pub(crate) fn new(
        options: Options,
        shared: Rc<Shared>,
        commands: mpsc::UnboundedReceiver<Command>,
        chunks: mpsc::UnboundedReceiver<Chunk>,
        state: watch::Sender<State>,
    ) -> Self {
        Self {
            servers: Servers::new(options.servers.clone()),
            options,
            shared,
            commands,
            chunks,
            state,
            inlets: BTreeMap::new(),
            requests: Requests::default(),
            generation: 0,
            predecessor: Predecessor::None,
            reason: None,
            is_stopping: false,
            waiting_for_end: Vec::new(),
        }
    }

    /// Runs until the client is shut down or its last handle is dropped.
    pub(crate) async fn run(mut self) {
        while let Some(established) = self.connect().await {
            let since = Instant::now();
            let (mut wire, server) = self.begin(established);
            let end = self.serve(&mut wire, server).await;
            self.shared.live.set(0);
            self.finish(wire, end).await;
            self.servers.lost(since.elapsed());
            if self.is_stopping {
                break;
            }
        }
        self.state.send_replace(State::Closed);
        self.requests.fail(&RequestError::Closed);
        // Subscriptions end before those who wait for the shutdown learn of it.
        self.inlets.clear();
        self.commands.close();
        for done in self.waiting_for_end.drain(..) {
            let _ = done.send(()); // whoever asked need not wait
        }
    }

    /// Tries servers until one accepts us. None once there is nobody left to connect for.
    async fn connect(&mut self) -> Option<Established> {
        loop {
            if self.is_stopping {
                return None;
            }
            let attempts = self.servers.attempts();
            let reason = self.reason.clone();
            self.state
                .send_replace(State::Connecting { reason, attempts });
            let Some((server, delay)) = self.servers.next() else {
                self.failed(ConnectError::new(
                    Kind::NoServers,
                    "nats",
                    "no servers are given",
                ));
                let reason = self.reason.clone();
                self.state
                    .send_replace(State::Connecting { reason, attempts });
                return self.wait_offline(std::future::pending()).await;
            };
            let needs_person = self
                .reason
                .as_ref()
                .is_some_and(|it| it.kind.needs_person());
            let slow = needs_person && !delay.is_zero();
            let delay = if slow {
                delay.max(DELAY_NEEDS_PERSON)
            } else {
                delay
            };
            let options = self.options.clone();
            let attempt = async {
                tokio::time::sleep(delay).await;
                connect(&options, &server).await
            };
            match self.wait_offline(attempt).await? {
                Ok(established) => return Some(established),
                Err(error) => self.failed(error),
            }
        }
    }

    /// Logs a reason once, not at every attempt.
    fn failed(&mut self, error: ConnectError) {
        if self.reason.as_ref() != Some(&error) {
            if error.kind.needs_person() {
                tracing::error!(server = %error.server, reason = %error.text, "NATS refuses us");
            } else {
                tracing::warn!(server = %error.server, reason = %error.text, "no NATS connection");
            }
        }
        self.reason = Some(error);
    }

    /// Waits for `future`, answering handles meanwhile. None once the client is to stop.
    async fn wait_offline<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        loop {
            let command = tokio::select! {
                biased;
                output = &mut future => return Some(output),
                command = self.commands.recv() => command,
            };
            self.apply_offline(command);
            if self.is_stopping {
                return None;
            }
        }
    }

    /// What a handle asks while there is no connection.
    pub(super) fn apply_offline(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Subscribe { sid, inlet }) => {
                self.inlets.insert(sid, inlet);
            }
            Some(Command::Unsubscribe { sid }) => {
                self.inlets.remove(&sid);
            }
            Some(Command::Publish { .. }) => {} // of a connection that is over
            Some(Command::Request { answer, .. }) => {
                let _ = answer.send(Err(RequestError::NotConnected));
            }
            Some(Command::Shutdown { done }) => {
                self.waiting_for_end.push(done);
                self.is_stopping = true;
            }
            None => self.is_stopping = true, // the last handle is gone
        }
    }

    pub(super) fn stop_when(&mut self, done: Option<oneshot::Sender<()>>) {
        self.waiting_for_end.extend(done);
        self.is_stopping = true;
    }

    /// Makes what was established the connection that stands: subscriptions first, then everybody is told.
    fn begin(&mut self, established: Established) -> (Wire, ServerAddr) {
        let Established {
            transport,
            buffer,
            info,
            server,
        } = established;
        self.generation += 1;
        self.reason = None;
        let mut frames = BytesMut::new();
        let requests = format!("{}.*", self.shared.request_inbox());
        append_subscribe(&mut frames, &requests, REQUESTS_SID);
        for (sid, inlet) in &self.inlets {
            append_subscribe(&mut frames, &inlet.subject, *sid);
        }
        let mut wire = Wire::new(transport, buffer);
        wire.outbox.push(frames.freeze(), None);
        self.shared.live.set(self.generation);
        let (generation, predecessor) = (self.generation, self.predecessor);
        self.tell(&Event::Up {
            generation,
            predecessor,
        });
        self.announce(&info, &server);
        tracing::info!(%server, version = %info.version, generation, ?predecessor, "NATS is connected");
        (wire, server)
    }

    /// Shows what the server says about itself; learns its neighbours.
    pub(super) fn announce(&mut self, info: &Info, server: &ServerAddr) {
        if !self.options.ignore_discovered {
            self.servers.discover(&info.connect_urls, server);
        }
        self.state.send_replace(State::Connected {
            generation: self.generation,
            predecessor: self.predecessor,
            info: ServerInfo::new(info, server.to_string()),
        });
    }

    pub(super) fn tell(&mut self, event: &Event) {
        for inlet in self.inlets.values_mut() {
            inlet.push(event.clone());
        }
    }
}
