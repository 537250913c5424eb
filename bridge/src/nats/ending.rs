//! The end of a connection: seen by us where that is possible, because the next one may only begin behind it.

use std::future::poll_fn;
use std::io;

use tokio::time::Instant;

use super::connection::{Command, Connection};
use super::error::{ConnectError, RequestError};
use super::state::{Predecessor, State};
use super::subscription::Event;
use super::wire::{Io, Wire};

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

impl Connection {
    /// Sees the old connection to its end, as far as that is possible, before another may begin.
    pub(super) async fn finish(&mut self, mut wire: Wire, end: End) {
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
