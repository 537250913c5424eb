//! The target stream as a route's driver uses it: one question or one run at a time.

use causeway_proto::receiver::Action;
use causeway_proto::reconcile::{Scanned, TargetFacts};
use causeway_proto::run::{RunResult, Stalled};
use tokio::task::JoinHandle;

use crate::publisher::Publisher;
use crate::wait::join;

/// What a task on the target brought home.
pub(super) enum Done {
    Connected,
    Described(Result<TargetFacts, Stalled>),
    Scanned(Result<Scanned, Stalled>),
    Published(RunResult),
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
    connected: bool,
}

impl Target {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            publisher: Some(Box::new(publisher)),
            task: None,
            next: None,
            connected: false,
        }
    }

    /// Whether the target's server is connected, as of the last task's end.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// What to ask next. It takes the place of what was to be asked and is not yet.
    pub(super) fn ask(&mut self, action: Action) {
        self.next = Some(action);
    }

    /// Waits for the task under way. Cancel safe.
    pub(super) async fn joined(&mut self) -> Joined {
        let joined = join(&mut self.task).await;
        self.task = None;
        joined
    }

    /// Takes the publisher back.
    pub(super) fn give_back(&mut self, joined: Joined) -> Done {
        self.connected = joined.publisher.is_connected();
        self.publisher = Some(joined.publisher);
        if matches!(joined.done, Done::Connected) {
            self.next = None; // a new connection makes the receiver ask anew
        }
        joined.done
    }

    /// Starts the next task, if the publisher is free.
    pub(super) fn start_next(&mut self) {
        if self.task.is_some() {
            return;
        }
        // Without a connection nothing can be asked; a new one makes the receiver ask anew.
        let next = if self.connected {
            self.next.take()
        } else {
            Some(Action::Describe)
        };
        let Some(next) = next else { return };
        let Some(mut publisher) = self.publisher.take() else {
            return;
        };
        let connected = self.connected;
        self.task = Some(tokio::task::spawn_local(async move {
            let done = match next {
                _ if !connected => {
                    publisher.connected().await;
                    Done::Connected
                }
                Action::Scan { from, to } => Done::Scanned(publisher.scan(from, to).await),
                Action::Publish(run) => Done::Published(publisher.publish(&run).await),
                _ => Done::Described(publisher.describe().await),
            };
            Joined { publisher, done }
        }));
    }
}
