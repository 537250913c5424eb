//! The handles: [`Client`] and [`Writer`]. Cheap to clone, bound to the thread of their connection.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::Rng;
use rand::distr::Alphanumeric;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::connection::{Chunk, Command, Connection};
use super::error::RequestError;
use super::frame::{InvalidSubject, append_publish, is_plain};
use super::options::Options;
use super::requests::REQUESTS_SID;
use super::state::State;
use super::subscription::{Budget, Subscription};

/// Numbers of subscriptions, requests and inboxes are drawn from one counter, behind the reserved.
const FIRST_NUMBER: u64 = REQUESTS_SID + 1;

/// What handles and connection share on their one thread: counters, no state.
pub(crate) struct Shared {
    /// Generation of the connection that stands; 0 while there is none.
    pub(crate) live: Cell<u64>,
    pub(crate) budget: Rc<Budget>,
    /// Bytes that writers may still hand over.
    pub(crate) unsent: Arc<Semaphore>,
    unsent_bytes_max: u32,
    /// `_INBOX.<random>`: everything that is sent to us alone begins with it.
    inbox: String,
    next_number: Cell<u64>,
}

impl Shared {
    fn new(options: &Options) -> Self {
        let unsent_bytes_max = u32::try_from(options.unsent_bytes_max)
            .unwrap_or(u32::MAX)
            .max(1);
        let random: String = rand::rng()
            .sample_iter(Alphanumeric)
            .take(22)
            .map(char::from)
            .collect();
        Self {
            live: Cell::new(0),
            budget: Rc::default(),
            unsent: Arc::new(Semaphore::new(unsent_bytes_max as usize)),
            unsent_bytes_max,
            inbox: format!("{}.{random}", options.inbox_prefix),
            next_number: Cell::new(FIRST_NUMBER),
        }
    }

    /// Subjects that replies to requests come to: `<inbox>.r.<token>`.
    pub(crate) fn request_inbox(&self) -> String {
        format!("{}.r", self.inbox)
    }

    fn next_number(&self) -> u64 {
        self.next_number.replace(self.next_number.get() + 1)
    }
}

/// A reply to a request, copied out of its read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Raw header block, or empty.
    pub headers: Bytes,
    /// Payload.
    pub payload: Bytes,
}

/// The connection's generation is over (or not yet there): nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection of this generation is over")]
pub struct Stale;

/// A NATS connection that is kept up for ever. See the module for what it promises.
#[derive(Clone)]
pub struct Client {
    shared: Rc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    chunks: mpsc::UnboundedSender<Chunk>,
    state: watch::Receiver<State>,
}

impl Client {
    /// Begins to connect in the background and returns at once.
    ///
    /// # Panics
    /// Outside a `LocalSet` or local runtime: the connection is a local task.
    pub fn start(options: Options) -> Self {
        let shared = Rc::new(Shared::new(&options));
        let (commands, command_queue) = mpsc::unbounded_channel();
        let (chunks, chunk_queue) = mpsc::unbounded_channel();
        let (state_sender, state) = watch::channel(State::Connecting {
            reason: None,
            attempts: 0,
        });
        let connection = Connection::new(
            options,
            Rc::clone(&shared),
            command_queue,
            chunk_queue,
            state_sender,
        );
        tokio::task::spawn_local(connection.run());
        Self {
            shared,
            commands,
            chunks,
            state,
        }
    }

    /// The state of the connection and its changes.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Generation of the connection that stands.
    pub fn generation(&self) -> Option<u64> {
        Some(self.shared.live.get()).filter(|generation| *generation != 0)
    }

    /// Subscribes, now and again on every connection to come.
    pub fn subscribe(&self, subject: &str) -> Result<Subscription, InvalidSubject> {
        if !is_plain(subject.as_bytes()) {
            return Err(InvalidSubject);
        }
        let sid = self.shared.next_number();
        let (subscription, inlet) =
            Subscription::pair(sid, subject, self.commands.clone(), &self.shared.budget);
        // Fails only when the client is shut down; the subscription then yields None.
        let _ = self.commands.send(Command::Subscribe { sid, inlet });
        Ok(subscription)
    }

    /// A fresh subject under which only this client is reached. Subscribe to it, or to `<it>.>`.
    pub fn new_inbox(&self) -> String {
        format!("{}.{}", self.shared.inbox, self.shared.next_number())
    }

    /// Sends one small control message (a pull, a heartbeat's answer). Not for records: it does
    /// not wait for room. Dropped if `generation` is over.
    pub fn publish(
        &self,
        subject: &str,
        reply: &str,
        payload: &[u8],
        generation: u64,
    ) -> Result<(), InvalidSubject> {
        let mut frame = BytesMut::new();
        append_publish(
            &mut frame,
            subject.as_bytes(),
            reply.as_bytes(),
            &[],
            payload,
        )?;
        if self.shared.live.get() == generation {
            let _ = self.commands.send(Command::Publish {
                frame: frame.freeze(),
                generation,
            });
        }
        Ok(())
    }

    /// Asks and waits for the one reply. Fails at once while there is no connection.
    pub async fn request(
        &self,
        subject: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let token = self.shared.next_number();
        let inbox = format!("{}.{token}", self.shared.request_inbox());
        let mut frame = BytesMut::new();
        append_publish(
            &mut frame,
            subject.as_bytes(),
            inbox.as_bytes(),
            &[],
            payload,
        )?;
        let (answer, answered) = oneshot::channel();
        let request = Command::Request {
            token,
            subject: subject.to_owned(),
            frame: frame.freeze(),
            answer,
        };
        self.commands
            .send(request)
            .map_err(|_| RequestError::Closed)?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(RequestError::Closed),
            Err(_) => Err(RequestError::Timeout),
        }
    }

    /// The way to send records.
    pub fn writer(&self) -> Writer {
        Writer {
            shared: Rc::clone(&self.shared),
            chunks: self.chunks.clone(),
        }
    }

    /// Sends what was handed over, closes the connection, and waits until the server has closed
    /// it too, or until the bound on that has passed. Every subscription ends.
    pub async fn shutdown(&self) {
        let (done, is_done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).is_ok() {
            let _ = is_done.await; // an error means that the task has ended already
        }
    }
}

/// Hands chunks of whole frames to the connection, and waits when it has enough.
#[derive(Clone)]
pub struct Writer {
    shared: Rc<Shared>,
    chunks: mpsc::UnboundedSender<Chunk>,
}

impl Writer {
    /// Waits for room for `len` bytes. Cancel safe. A chunk larger than all room there is takes
    /// all of it.
    pub async fn reserve(&self, len: usize, generation: u64) -> Result<Slot<'_>, Stale> {
        self.check(generation)?;
        let len = u32::try_from(len)
            .unwrap_or(u32::MAX)
            .min(self.shared.unsent_bytes_max);
        let permit = Arc::clone(&self.shared.unsent)
            .acquire_many_owned(len)
            .await;
        self.check(generation)?;
        let permit = permit.map_err(|_| Stale)?;
        Ok(Slot {
            writer: self,
            permit,
            generation,
        })
    }

    /// Hands over a chunk of whole frames, waiting for room first. It goes out on the connection
    /// of that generation or not at all; that it went out is known only from what comes back.
    /// When cancelled, nothing was handed over.
    pub async fn send(&self, chunk: impl Into<Bytes>, generation: u64) -> Result<(), Stale> {
        let chunk = chunk.into();
        self.reserve(chunk.len(), generation).await?.send(chunk)
    }

    fn check(&self, generation: u64) -> Result<(), Stale> {
        let is_live = generation != 0 && self.shared.live.get() == generation;
        is_live.then_some(()).ok_or(Stale)
    }
}

/// Room for one chunk.
pub struct Slot<'a> {
    writer: &'a Writer,
    permit: OwnedSemaphorePermit,
    generation: u64,
}

impl Slot<'_> {
    /// Hands over a chunk, without waiting.
    pub fn send(self, chunk: impl Into<Bytes>) -> Result<(), Stale> {
        let Self {
            writer,
            permit,
            generation,
        } = self;
        writer.check(generation)?;
        let chunk = Chunk {
            bytes: chunk.into(),
            generation,
            permit,
        };
        writer.chunks.send(chunk).map_err(|_| Stale)
    }
}
