//! A subscription: what its owner reads, and the bound on what it has not read yet.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::block::Block;
use super::connection::Command;
use super::state::Predecessor;

/// What a subscription yields, in this order for each connection: `Up`, any number of `Block` and
/// `Denied`, `Down`.
///
/// A subscription made while a connection stands begins with that connection's `Up`. By the time
/// `Up` is seen the subscription is on its way to the server ahead of anything that its owner can
/// send, so a reply to a publish made after `Up` cannot be missed.
#[derive(Debug, Clone)]
pub enum Event {
    /// A connection stands.
    Up {
        /// Its number: what may be sent now, and what the blocks that follow carry.
        generation: u64,
        /// What became of the connection before it.
        predecessor: Predecessor,
    },
    /// Messages.
    Block(Block),
    /// The server refused a subject that this connection published or subscribed to. It is shown
    /// to every subscription, as the server does not say which publish it was.
    Denied(Arc<str>),
    /// The connection is finished: nothing more of this generation comes.
    Down {
        /// Its number.
        generation: u64,
    },
}

impl Event {
    /// What the event counts for in [`Budget`].
    fn charge(&self) -> usize {
        match self {
            Self::Block(block) => block.wire_bytes(),
            Self::Denied(text) => text.len(),
            Self::Up { .. } | Self::Down { .. } => 0,
        }
    }
}

/// Counts bytes that were received and not yet taken, over all subscriptions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    unread: Cell<usize>,
    /// Wakes the connection when something was taken.
    taken: Notify,
}

impl Budget {
    pub(crate) fn unread(&self) -> usize {
        self.unread.get()
    }

    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }

    fn add(&self, bytes: usize) {
        self.unread.set(self.unread.get() + bytes);
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.unread.set(self.unread.get() - bytes);
            self.taken.notify_one();
        }
    }
}

/// The connection's end of a subscription. The queue has no bound of its own: the budget stops
/// the connection's reading instead, because nothing may be dropped.
pub(crate) struct Inlet {
    pub(crate) subject: String,
    /// Whether `Up` was said and `Down` not yet.
    is_up: bool,
    events: mpsc::UnboundedSender<Event>,
    budget: Rc<Budget>,
}

impl Inlet {
    /// Queues an event. `Down` is dropped where no `Up` came before it.
    pub(crate) fn push(&mut self, event: Event) {
        match &event {
            Event::Up { .. } => self.is_up = true,
            Event::Down { .. } if !std::mem::take(&mut self.is_up) => return,
            _ => {}
        }
        let charge = event.charge();
        self.budget.add(charge);
        if self.events.send(event).is_err() {
            self.budget.release(charge); // its owner is gone; the UNSUB is under way
        }
    }
}

/// Reads what is published to one subject. Dropping it ends the subscription.
pub struct Subscription {
    sid: u64,
    subject: String,
    events: mpsc::UnboundedReceiver<Event>,
    commands: mpsc::UnboundedSender<Command>,
    budget: Rc<Budget>,
}

impl Subscription {
    pub(crate) fn pair(
        sid: u64,
        subject: &str,
        commands: mpsc::UnboundedSender<Command>,
        budget: &Rc<Budget>,
    ) -> (Self, Inlet) {
        let (sender, events) = mpsc::unbounded_channel();
        let subject = subject.to_owned();
        let budget = Rc::clone(budget);
        let inlet = Inlet {
            subject: subject.clone(),
            is_up: false,
            events: sender,
            budget: Rc::clone(&budget),
        };
        (
            Self {
                sid,
                subject,
                events,
                commands,
                budget,
            },
            inlet,
        )
    }

    /// The subject, wildcards included.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The next event; None once the client is shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        self.budget.release(event.charge());
        Some(event)
    }

    /// The next event if one waits already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        self.budget.release(event.charge());
        Some(event)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events.close();
        while let Ok(event) = self.events.try_recv() {
            self.budget.release(event.charge());
        }
        // Fails only when the connection's task has ended, and the subscription with it.
        let _ = self.commands.send(Command::Unsubscribe { sid: self.sid });
    }
}
