//! Does to a link's connections what the contest says: one driver, `select -> handle -> obey`.

use std::collections::HashMap;
use std::sync::Arc;

use causeway_proto::contest::{Action, ConnectionId, Contest, Part};
use causeway_proto::error::CloseReason;
use causeway_proto::frame::Hello;
use causeway_proto::handshake::Agreed;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc};

use super::dialling::{Dialling, Outcome, Stood};
use super::steps::{Step, meet, try_out};
use super::{Ends, LinkTask};
use crate::link::{self, Session as Connection};
use crate::session::SessionEnd;

/// Connections of which the peer's `Hello` is awaited at once; further ones wait in their queue.
const MEETINGS_MAX: usize = 8;
/// Reasons of failed dials that are remembered.
const FAILURES_MAX: usize = 8;

/// A link at work.
pub(super) struct Link<'a> {
    task: &'a LinkTask,
    hello: &'a Hello,
    contest: Contest,
    dialling: Option<Dialling>,
    callers: Option<mpsc::Receiver<Connection>>,
    /// The newest connection's number.
    last: u64,
    /// Steps that wait for a `Hello`.
    meetings: usize,
    /// Every connection that is not closed.
    open: HashMap<ConnectionId, quinn::Connection>,
    /// Those on which nothing is awaited.
    held: HashMap<ConnectionId, Box<Connection>>,
    /// Whether the residency rules of the two ends differ, for those whose `Hello` was heard.
    skewed: HashMap<ConnectionId, bool>,
    steps: FuturesUnordered<BoxFuture<'a, Step>>,
    /// Ends the session.
    stop: Arc<Notify>,
    /// Ends the trial of a caller.
    enough: Arc<Notify>,
    /// A session has stood since we last dialled.
    stood: Option<Stood>,
    /// Why dials failed since the last session: each reason is logged once. A name's addresses fail in turn, each its own way.
    failures: Vec<String>,
}

enum Event {
    Dial(Outcome),
    Caller(Option<Connection>),
    Step(Step),
}

impl<'a> Link<'a> {
    pub(super) fn new(task: &'a LinkTask, hello: &'a Hello, ends: Ends) -> Self {
        let part = Part {
            dials: ends.dialer.is_some(),
            goes_first: ends.goes_first,
        };
        Self {
            task,
            hello,
            contest: Contest::new(part),
            dialling: ends.dialer.map(Dialling::start),
            callers: ends.callers,
            last: 0,
            meetings: 0,
            open: HashMap::new(),
            held: HashMap::new(),
            skewed: HashMap::new(),
            steps: FuturesUnordered::new(),
            stop: Arc::default(),
            enough: Arc::default(),
            stood: None,
            failures: Vec::new(),
        }
    }

    /// Runs until the process closes its links.
    pub(super) async fn run(mut self) {
        let mut closing = self.task.closing.clone();
        self.obey();
        while !*closing.borrow() {
            let listens = self.meetings < MEETINGS_MAX;
            let event = tokio::select! {
                _ = closing.changed() => break,
                outcome = outcome(&mut self.dialling) => Event::Dial(outcome),
                caller = caller(&mut self.callers), if listens => Event::Caller(caller),
                Some(step) = self.steps.next() => Event::Step(step),
            };
            match event {
                Event::Dial(Outcome::Made(connection)) => {
                    let id = self.admit(&connection);
                    self.held.insert(id, connection);
                    self.contest.handle_dialled(id);
                }
                Event::Dial(Outcome::Failed(why)) => self.note_failure(why),
                Event::Caller(Some(connection)) => {
                    let id = self.admit(&connection);
                    self.meet(id, Box::new(connection));
                }
                Event::Caller(None) => self.callers = None, // the listener is gone
                Event::Step(step) => self.handle(step),
            }
            self.obey();
        }
        self.close().await;
    }

    /// Ends the session in order, and everything else at once.
    async fn close(mut self) {
        self.dialling = None;
        let standing = self.contest.standing();
        self.open.retain(|id, connection| {
            let stands = standing == Some(*id);
            if !stands {
                link::close(connection, CloseReason::Shutdown);
            }
            stands
        });
        self.stop.notify_one();
        self.enough.notify_one();
        while let Some(step) = self.steps.next().await {
            if let Step::Ended(_, connection, end, _) = step {
                self.note_end(&connection, &end);
                connection.close(CloseReason::Shutdown);
            }
        }
    }

    fn admit(&mut self, connection: &Connection) -> ConnectionId {
        self.last += 1;
        let id = ConnectionId(self.last);
        self.open.insert(id, connection.connection().clone());
        id
    }

    fn meet(&mut self, id: ConnectionId, connection: Box<Connection>) {
        if self.contest.standing().is_none() {
            self.task.teller.handshaking(&connection);
        }
        self.meetings += 1;
        let step = meet(id, connection, self.hello, &self.task.peer);
        self.steps.push(Box::pin(step));
    }

    fn handle(&mut self, step: Step) {
        match step {
            Step::Heard(id, connection, heard) => {
                self.meetings -= 1;
                if !self.open.contains_key(&id) {
                    return; // refused meanwhile
                }
                match *heard {
                    Ok(agreed) => self.handle_heard(id, connection, agreed),
                    Err(end) => self.give_up(id, &connection, &end),
                }
            }
            Step::Tried(id, connection, used) => {
                if !self.open.contains_key(&id) {
                } else if !used {
                    self.give_up(id, &connection, &SessionEnd::Lost);
                } else if self.contest.standing() == Some(id) {
                    self.start(id, connection, false);
                } else {
                    self.held.insert(id, connection);
                    self.contest.handle_use(id);
                }
            }
            Step::Ended(id, connection, end, lived) => {
                self.note_end(&connection, &end);
                let round_trip = connection.connection().rtt();
                self.stood = Some(Stood { round_trip, lived });
                connection.close(match *end {
                    SessionEnd::Stopped => CloseReason::Superseded,
                    ref end => end.close_reason(),
                });
                self.forget(id);
                self.contest.handle_lost(id);
            }
        }
    }

    fn handle_heard(&mut self, id: ConnectionId, connection: Box<Connection>, agreed: Agreed) {
        let ours = connection.dialled_by_us;
        self.held.insert(id, connection);
        self.skewed.insert(id, agreed.residency_skew);
        if ours {
            self.contest.handle_answer(id);
        } else {
            self.contest.handle_call(id);
        }
    }

    /// A connection that came to nothing.
    fn give_up(&mut self, id: ConnectionId, connection: &Connection, end: &SessionEnd) {
        let why = self.task.count(connection, end);
        if end.is_fault() || connection.fault().is_some() {
            tracing::warn!(peer = %self.task.peer, why, "peer refused");
        } else {
            tracing::debug!(peer = %self.task.peer, why, "connection came to nothing");
        }
        if self.contest.standing().is_none() {
            self.task.teller.down(&why);
        }
        connection.close(end.close_reason());
        self.forget(id);
        self.contest.handle_lost(id);
    }

    fn forget(&mut self, id: ConnectionId) {
        self.open.remove(&id);
        self.held.remove(&id);
        self.skewed.remove(&id);
    }

    /// Does all that the contest asks for.
    fn obey(&mut self) {
        let mut greeted = None;
        while let Some(action) = self.contest.poll_action() {
            match action {
                Action::Dial => {
                    if let Some(dialling) = &self.dialling {
                        dialling.wish(self.stood.take());
                    }
                }
                Action::StopDialling => {
                    if let Some(dialling) = &self.dialling {
                        dialling.stop();
                    }
                }
                Action::Greet(id) => match self.held.remove(&id) {
                    Some(connection) if connection.dialled_by_us => self.meet(id, connection),
                    Some(connection) => greeted = Some((id, connection)),
                    None => {}
                },
                Action::Start(id) => match greeted.take() {
                    Some((_, connection)) => self.start(id, connection, true),
                    None => match self.held.remove(&id) {
                        Some(connection) => self.start(id, connection, false),
                        None => self.enough.notify_one(), // it is being tried, and comes back
                    },
                },
                Action::Stop(_) => self.stop.notify_one(),
                Action::Refuse(id) => {
                    if let Some(connection) = self.open.get(&id) {
                        link::close(connection, CloseReason::Superseded);
                    }
                    self.forget(id);
                }
            }
        }
        if let Some((id, connection)) = greeted {
            self.enough = Arc::default(); // a trial has its own, as has a session
            let (hello, enough) = (self.hello, Arc::clone(&self.enough));
            let step = async move { try_out(id, connection, hello, &enough).await };
            self.steps.push(Box::pin(step));
        }
    }

    /// `owes`: the peer has not been answered yet.
    fn start(&mut self, id: ConnectionId, connection: Box<Connection>, owes: bool) {
        let skew = self.skewed.get(&id).copied().unwrap_or(false);
        self.task.teller.handshaking(&connection);
        self.task.teller.up(skew);
        tracing::info!(peer = %self.task.peer, skew, dialled = connection.dialled_by_us, "link up");
        self.failures.clear();
        self.stop = Arc::default();
        let (task, stop) = (self.task, Arc::clone(&self.stop));
        let owed = owes.then_some(self.hello);
        self.steps
            .push(Box::pin(task.serve(id, connection, owed, stop)));
    }

    fn note_failure(&mut self, why: String) {
        if self.contest.standing().is_some() {
            return; // it was given up meanwhile
        }
        self.task.teller.down(&why);
        if !self.failures.contains(&why) {
            tracing::warn!(peer = %self.task.peer, why, "link cannot be dialled; trying on");
            self.failures.truncate(FAILURES_MAX - 1);
            self.failures.insert(0, why);
        }
    }

    fn note_end(&self, connection: &Connection, end: &SessionEnd) {
        let why = self.task.count(connection, end);
        if matches!(end, SessionEnd::Stopped) {
            tracing::info!(peer = %self.task.peer, why, "link down");
        } else {
            tracing::warn!(peer = %self.task.peer, why, "link down");
        }
        self.task.teller.observe(connection);
        self.task.teller.down(&why);
    }
}

async fn outcome(dialling: &mut Option<Dialling>) -> Outcome {
    match dialling {
        Some(dialling) => dialling.outcome().await,
        None => std::future::pending().await,
    }
}

async fn caller(callers: &mut Option<mpsc::Receiver<Connection>>) -> Option<Connection> {
    match callers {
        Some(callers) => callers.recv().await,
        None => std::future::pending().await,
    }
}
