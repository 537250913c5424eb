//! One connection while it stands: select, apply, again.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::{Interval, MissedTickBehavior};

use super::block::Block;
use super::connection::{Chunk, Command, Connection};
use super::ending::{End, proves_the_end};
use super::error::{ConnectError, ConnectErrorKind as Kind, ProtocolError};
use super::frame::{append_subscribe, append_unsubscribe};
use super::handshake::{Info, error_text, parse_info, server_error};
use super::options::ServerAddr;
use super::parser::{Control, Run, scan};
use super::requests::REQUESTS_SID;
use super::subscription::Event;
use super::wire::{Io, OUTBOX_BYTES_MAX, Wire};

/// Silent rounds after which the peer counts as gone.
const SILENT_ROUNDS_MAX: u32 = 2;

/// What the server said that is no message.
#[derive(Default)]
pub(super) struct Heard {
    info: Option<Box<Info>>,
    /// The last complaint that ends the connection.
    error: Option<String>,
}

/// Signs of life, the server's words, and the clock for asking.
struct Watch {
    server: ServerAddr,
    ticker: Interval,
    heard_since_tick: bool,
    silent_rounds: u32,
    /// What the server said before it closes the connection.
    last_words: Option<String>,
}

enum Turn {
    Io(Io),
    Command(Option<Command>),
    Chunk(Option<Chunk>),
    Tick,
    Taken,
}

impl Connection {
    pub(super) async fn serve(&mut self, wire: &mut Wire, server: ServerAddr) -> End {
        let mut ticker = tokio::time::interval(self.options.ping_interval);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticker.reset();
        let mut watch = Watch {
            server,
            ticker,
            heard_since_tick: true,
            silent_rounds: 0,
            last_words: None,
        };
        // The handshake may have read further than it needed.
        if let Some(end) = self.parse(wire, &mut watch) {
            return end;
        }
        loop {
            let turn = self.select(wire, &mut watch).await;
            if let Some(end) = self.apply(wire, &mut watch, turn) {
                return end;
            }
        }
    }

    async fn select(&mut self, wire: &mut Wire, watch: &mut Watch) -> Turn {
        let is_full = self.is_full();
        let has_room = wire.outbox.bytes() < OUTBOX_BYTES_MAX;
        tokio::select! {
            biased;
            io = poll_fn(|cx| wire.poll(cx, !is_full)) => Turn::Io(io),
            // Before chunks: a subscription goes out ahead of what its owner sends next.
            command = self.commands.recv() => Turn::Command(command),
            chunk = self.chunks.recv(), if has_room => Turn::Chunk(chunk),
            _ = watch.ticker.tick() => Turn::Tick,
            () = self.shared.budget.taken(), if is_full => Turn::Taken,
        }
    }

    /// Whether so much is unread that the socket must wait: TCP then slows the server down.
    fn is_full(&self) -> bool {
        self.shared.budget.unread() > self.options.unread_bytes_max
    }

    fn apply(&mut self, wire: &mut Wire, watch: &mut Watch, turn: Turn) -> Option<End> {
        match turn {
            Turn::Io(Io::Read) => {
                watch.heard_since_tick = true;
                return self.parse(wire, watch);
            }
            Turn::Io(Io::Wrote) => self.take_chunks(wire, OUTBOX_BYTES_MAX),
            Turn::Io(Io::ReadEnd(result)) => {
                let proven = proves_the_end(&result);
                let text = result.err().map(|error| error.to_string());
                return Some(End::Broken {
                    reason: watch.reason(text),
                    proven,
                });
            }
            Turn::Io(Io::WriteEnd(error)) => {
                let reason = watch.reason(Some(error.to_string()));
                return Some(End::Left {
                    reason,
                    flush: false,
                });
            }
            Turn::Command(command) => {
                if self.apply_command(wire, command) {
                    return Some(End::Shutdown);
                }
                self.take_chunks(wire, OUTBOX_BYTES_MAX);
            }
            Turn::Chunk(chunk) => {
                if let Some(chunk) = chunk {
                    self.take(wire, chunk);
                    self.take_chunks(wire, OUTBOX_BYTES_MAX);
                }
            }
            Turn::Tick => return self.apply_tick(wire, watch),
            Turn::Taken => {}
        }
        None
    }

    /// What a handle asks. True when the client is to stop.
    fn apply_command(&mut self, wire: &mut Wire, command: Option<Command>) -> bool {
        match command {
            Some(Command::Subscribe { sid, mut inlet }) => {
                let mut frame = BytesMut::new();
                append_subscribe(&mut frame, &inlet.subject, sid);
                wire.outbox.push(frame.freeze(), None);
                let (generation, predecessor) = (self.generation, self.predecessor);
                inlet.push(Event::Up {
                    generation,
                    predecessor,
                });
                self.inlets.insert(sid, inlet);
            }
            Some(Command::Unsubscribe { sid }) => {
                if self.inlets.remove(&sid).is_some() {
                    let mut frame = BytesMut::new();
                    append_unsubscribe(&mut frame, sid);
                    wire.outbox.push(frame.freeze(), None);
                }
            }
            Some(Command::Publish { frame, generation }) => {
                if generation == self.generation {
                    wire.outbox.push(frame, None);
                }
            }
            Some(Command::Request {
                token,
                subject,
                frame,
                answer,
            }) => {
                self.requests.insert(token, subject, answer);
                wire.outbox.push(frame, None);
            }
            Some(Command::Shutdown { done }) => {
                self.stop_when(Some(done));
                return true;
            }
            None => {
                self.stop_when(None);
                return true;
            }
        }
        false
    }

    /// Takes what waits, commands before chunks, while the outbox holds less than `bytes_max`.
    pub(super) fn take_chunks(&mut self, wire: &mut Wire, bytes_max: usize) {
        while wire.outbox.bytes() < bytes_max {
            let Ok(chunk) = self.chunks.try_recv() else {
                return;
            };
            self.take(wire, chunk);
        }
    }

    fn take(&self, wire: &mut Wire, chunk: Chunk) {
        if chunk.generation == self.generation {
            wire.outbox.push(chunk.bytes, Some(chunk.permit));
        }
    }

    /// Asks for a sign of life. While we do not read, silence says nothing.
    fn apply_tick(&mut self, wire: &mut Wire, watch: &mut Watch) -> Option<End> {
        self.requests.sweep();
        let is_alive = std::mem::take(&mut watch.heard_since_tick) || self.is_full();
        watch.silent_rounds = if is_alive { 0 } else { watch.silent_rounds + 1 };
        if watch.silent_rounds >= SILENT_ROUNDS_MAX {
            let text = "no sign of life from the server";
            let reason = ConnectError::new(Kind::Timeout, &watch.server, text);
            return Some(End::Left {
                reason,
                flush: false,
            });
        }
        wire.outbox.push(Bytes::from_static(b"PING\r\n"), None);
        None
    }

    /// Delivers what was read. Some when the connection is over.
    fn parse(&mut self, wire: &mut Wire, watch: &mut Watch) -> Option<End> {
        let heard = match self.deliver(wire) {
            Ok(heard) => heard,
            Err(error) => {
                let reason = ConnectError::new(Kind::Protocol, &watch.server, error);
                return Some(End::Left {
                    reason,
                    flush: false,
                });
            }
        };
        watch.last_words = heard.error.or_else(|| watch.last_words.take());
        let info = heard.info?;
        self.announce(&info, &watch.server);
        if info.lame_duck && self.servers.has_other(&watch.server) {
            let text = "the server is going to shut down (lame duck)";
            let reason = ConnectError::new(Kind::Io, &watch.server, text);
            return Some(End::Left {
                reason,
                flush: true,
            });
        }
        None
    }

    /// Hands every complete frame in the inbox to whom it is for.
    pub(super) fn deliver(&mut self, wire: &mut Wire) -> Result<Heard, ProtocolError> {
        let mut heard = Heard::default();
        if wire.inbox.len() < wire.need {
            return Ok(heard);
        }
        let found = scan(&wire.inbox)?;
        wire.need = found.need;
        if found.consumed == 0 {
            return Ok(heard);
        }
        let bytes = wire.inbox.split_to(found.consumed).freeze();
        for Run {
            sid,
            entries,
            wire_bytes,
        } in found.runs
        {
            let block = Block::new(bytes.clone(), entries, self.generation, wire_bytes);
            if sid == REQUESTS_SID {
                block
                    .iter()
                    .for_each(|message| self.requests.answer(&message));
            } else if let Some(inlet) = self.inlets.get_mut(&sid) {
                inlet.push(Event::Block(block.compact()));
            }
        }
        for control in found.controls {
            match control {
                Control::Ping => wire.outbox.push(Bytes::from_static(b"PONG\r\n"), None),
                Control::Pong => {}
                Control::Info(span) => heard.info = Some(Box::new(parse_info(&bytes[span])?)),
                Control::Error(span) => {
                    let text = error_text(&bytes[span]);
                    if !self.complain(&text) {
                        heard.error = Some(text);
                    }
                }
            }
        }
        Ok(heard)
    }

    /// Passes on a complaint that leaves the connection standing; false for any other.
    fn complain(&mut self, text: &str) -> bool {
        let is_denied = text.starts_with("Permissions Violation");
        if !is_denied && !text.starts_with("Invalid") {
            return false;
        }
        tracing::debug!(text, "the server refuses a subject");
        self.requests.deny(text);
        self.tell(&Event::Denied(Arc::from(text)));
        true
    }
}

impl Watch {
    /// Why the connection ended: the server's last words say more than the system's error.
    fn reason(&self, text: Option<String>) -> ConnectError {
        match &self.last_words {
            Some(words) => server_error(&self.server, words),
            None => {
                let text = text.unwrap_or_else(|| "closed by the server".to_owned());
                ConnectError::new(Kind::Io, &self.server, text)
            }
        }
    }
}
