//! The one task that owns socket, parser and outbox, over all connections that come and go.
//!
//! ```text
//!            connect (any server, for ever)
//!      ┌──────────────► serve ───────────────┐ peer closed, black hole, lame duck, shutdown
//!      │                                     ▼
//!      └───────────────────────────────── finish (until the old socket's end is seen, bounded)
//! ```

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::client::Shared;
use super::error::{ConnectError, ConnectErrorKind as Kind, RequestError};
use super::frame::append_subscribe;
use super::handshake::{Info, Link, connect};
use super::options::{Options, ServerAddr};
use super::requests::{Answer, REQUESTS_SID, Requests};
use super::servers::Servers;
use super::state::{Predecessor, ServerInfo, State};
use super::subscription::{Event, Inlet};
use super::wire::{Io, Wire};

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

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer closed it, or it broke.
    Broken { reason: ConnectError, proven: bool },
    /// We leave it. With `flush`, what was handed over goes out first.
    Left { reason: ConnectError, flush: bool },
    /// The client is shut down.
    Shutdown,
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
    reason: Option<ConnectError>,
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
        while let Some(link) = self.connect().await {
            let since = Instant::now();
            let (mut wire, server) = self.begin(link);
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
    async fn connect(&mut self) -> Option<Link> {
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
                Ok(link) => return Some(link),
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
    fn apply_offline(&mut self, command: Option<Command>) {
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

    /// Makes a link the connection that stands: subscriptions first, then everybody is told.
    fn begin(&mut self, link: Link) -> (Wire, ServerAddr) {
        let Link {
            transport,
            buffer,
            info,
            server,
        } = link;
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

    /// Sees the old connection to its end, as far as that is possible, before another may begin.
    async fn finish(&mut self, mut wire: Wire, end: End) {
        let (reason, is_flushed) = match end {
            End::Broken { reason, proven } => {
                self.discard(&mut wire);
                wire.transport.forget_unsent();
                self.predecessor = if proven {
                    Predecessor::Drained
                } else {
                    Predecessor::Unproven
                };
                self.lost(Some(reason));
                return;
            }
            End::Left { reason, flush } => (Some(reason), flush),
            End::Shutdown => (None, true),
        };
        if is_flushed {
            self.take_chunks(&mut wire, usize::MAX);
        } else {
            self.discard(&mut wire);
        }
        let attempts = self.servers.attempts();
        self.state.send_replace(State::Connecting {
            reason: reason.clone(),
            attempts,
        });
        self.predecessor = self.drain(&mut wire).await;
        if self.predecessor == Predecessor::Unproven {
            tracing::warn!("the end of the old NATS connection was not seen in time");
            wire.transport.forget_unsent();
        }
        wire.outbox.clear();
        self.lost(reason);
    }

    /// Closes our half and reads on until the peer has closed its half.
    async fn drain(&mut self, wire: &mut Wire) -> Predecessor {
        let deadline = Instant::now() + self.options.drain_max;
        let mut is_readable = true;
        loop {
            enum Turn {
                Io(Io),
                Command(Option<Command>),
                Deadline,
            }
            let turn = tokio::select! {
                biased;
                io = poll_fn(|cx| wire.poll_close(cx)) => Turn::Io(io),
                command = self.commands.recv(), if !self.is_stopping => Turn::Command(command),
                () = tokio::time::sleep_until(deadline) => Turn::Deadline,
            };
            match turn {
                Turn::Io(Io::ReadEnd(result)) if proves_the_end(&result) => {
                    return Predecessor::Drained;
                }
                Turn::Io(Io::Read) => {
                    // What nobody takes in time is thrown away: memory stays bounded, and those
                    // who read must begin anew on the next connection in any case.
                    let is_full = self.shared.budget.unread() > self.options.unread_bytes_max;
                    is_readable = is_readable && !is_full && self.deliver(wire).is_ok();
                    if !is_readable {
                        wire.inbox.clear();
                    }
                }
                Turn::Io(Io::Wrote | Io::WriteEnd(_)) => {}
                Turn::Io(Io::ReadEnd(_)) | Turn::Deadline => return Predecessor::Unproven,
                Turn::Command(command) => self.apply_offline(command),
            }
        }
    }

    /// Throws away what no connection will carry any more.
    fn discard(&mut self, wire: &mut Wire) {
        wire.outbox.clear();
        while self.chunks.try_recv().is_ok() {}
    }

    /// The connection is over and nothing more comes of it.
    fn lost(&mut self, reason: Option<ConnectError>) {
        while self.chunks.try_recv().is_ok() {}
        self.requests.fail(&RequestError::Disconnected);
        self.tell(&Event::Down {
            generation: self.generation,
        });
        if let Some(reason) = reason {
            let ConnectError { server, text, .. } = &reason;
            tracing::warn!(%server, reason = %text, predecessor = ?self.predecessor, "NATS is lost");
            self.reason = Some(reason);
        }
    }
}

/// Whether the end of reading came from the peer, so that its server reads nothing more of what
/// we sent. A time-out of our own kernel or a broken TLS record proves nothing.
pub(crate) fn proves_the_end(result: &io::Result<()>) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match result {
        Ok(()) => true,
        Err(error) => matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        ),
    }
}
