//! The target stream as a route's driver uses it: one question or one run at a time.

use causeway_proto::receiver::Action;
use causeway_proto::reconcile::{Scanned, TargetFacts};
use causeway_proto::run::{RunResult, Stalled};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::nats::State;
use crate::publisher::Publisher;
use crate::wait::join;

/// What a task on the target brought home.
pub(super) enum Done {
    Connected,
    Described(Result<TargetFacts, Stalled>),
    Scanned(Result<Scanned, Stalled>),
    Published(RunResult),
}

/// What happened at the target.
pub(super) enum Turn {
    /// A task ended.
    Joined(Joined),
    /// Nothing was under way, and the connection is over.
    Lost,
}

/// A task's end, with the publisher that it borrowed.
pub(super) struct Joined {
    publisher: Box<Publisher>,
    done: Done,
}

/// Owns the publisher of a route.
pub(super) struct Target {
    publisher: Option<Box<Publisher>>,
    task: Option<JoinHandle<Joined>>,
    /// What to ask next, once the publisher is free.
    next: Option<Action>,
    state: watch::Receiver<State>,
    /// The connection that is used, until it is noticed that it is over.
    generation: Option<u64>,
}

impl Target {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            state: publisher.watch(),
            publisher: Some(Box::new(publisher)),
            task: None,
            next: None,
            generation: None,
        }
    }

    /// Whether the target's server is connected, as far as the task under way has noticed.
    pub(super) fn is_connected(&self) -> bool {
        self.generation.is_some()
    }

    /// The connection is over: what was to be asked on it is not.
    pub(super) fn handle_lost(&mut self) {
        self.generation = None;
        self.next = None;
    }

    /// What to ask next. It takes the place of what was to be asked and is not yet.
    pub(super) fn ask(&mut self, action: Action) {
        self.next = Some(action);
    }

    /// Waits for the task under way, which ends with its connection if not before. Without a task, waits
    /// for the connection's end. Cancel safe.
    pub(super) async fn turn(&mut self) -> Turn {
        let (Some(publisher), Some(generation)) = (&mut self.publisher, self.generation) else {
            let joined = join(&mut self.task).await;
            self.task = None;
            return Turn::Joined(joined);
        };
        let is_over = |state: &State| !state.is_connected_as(generation);
        tokio::select! {
            biased;
            _ = self.state.wait_for(is_over) => {}
            // Unread, what the server says to everybody would count against the connection.
            () = publisher.idle() => {}
        }
        Turn::Lost
    }

    /// Takes the publisher back.
    pub(super) fn give_back(&mut self, joined: Joined) -> Done {
        let generation = joined.publisher.generation();
        self.publisher = Some(joined.publisher);
        match generation {
            None => self.handle_lost(),
            Some(_) if matches!(joined.done, Done::Connected) => self.generation = generation,
            Some(_) => {}
        }
        joined.done
    }

    /// Starts the next task, if the publisher is free. Without a connection that is to wait for one:
    /// nothing can be asked, and a new one makes the receiver ask anew.
    pub(super) fn start_next(&mut self) {
        let is_connected = self.is_connected();
        if self.task.is_some() || (is_connected && self.next.is_none()) {
            return;
        }
        let next = self.next.take().filter(|_| is_connected);
        let Some(mut publisher) = self.publisher.take() else {
            return;
        };
        self.task = Some(tokio::task::spawn_local(async move {
            let done = match next {
                None => {
                    publisher.connected().await;
                    Done::Connected
                }
                Some(Action::Scan { from, to, through }) => {
                    Done::Scanned(publisher.scan(from, to, through).await)
                }
                Some(Action::Publish(run)) => Done::Published(publisher.publish(&run).await),
                Some(_) => Done::Described(publisher.describe().await),
            };
            Joined { publisher, done }
        }));
    }
}
