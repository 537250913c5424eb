//! What a publisher hears besides answers: connections that come and go, and refusals.
//!
//! The server shows a refusal to every subscription of the connection, and all that it says is the subject: a
//! route that heeded another's would stall for what it never publishes.

use std::sync::Arc;

use causeway_proto::run::Run;
use tokio::sync::watch;

use super::Publisher;
use crate::nats::{Event, State};

impl Publisher {
    /// The state of the connection and its changes.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.client.watch()
    }

    /// The connection that was last announced, if it still stands.
    pub fn generation(&self) -> Option<u64> {
        let live = self.client.generation();
        self.generation.filter(|_| live == self.generation)
    }

    /// Hears what the server says while nothing is under way, until the connection is over. Cancel safe.
    pub async fn idle(&mut self) {
        loop {
            match self.replies.next().await {
                Some(event) => {
                    if !self.pass_over(&event) {
                        return;
                    }
                }
                None => std::future::pending().await, // shut down: nothing will come
            }
        }
    }

    /// Passes over what was said before anything is asked. False: the connection is over.
    pub(super) fn catch_up(&mut self) -> bool {
        while let Some(event) = self.replies.try_next() {
            if !self.pass_over(&event) {
                return false;
            }
        }
        true
    }

    /// An answer to what was given up, or a refusal of it, or of another route. False: the connection is over.
    fn pass_over(&mut self, event: &Event) -> bool {
        match event {
            Event::Block(_) => {}
            Event::Denied(text) => drop(self.is_denied(text, |_| false)),
            Event::Up { generation, .. } if self.generation == Some(*generation) => {}
            Event::Up { .. } | Event::Down { .. } => self.generation = None,
        }
        self.generation.is_some()
    }

    /// Waits until the connection of a generation other than the last one stands.
    pub async fn connected(&mut self) -> u64 {
        loop {
            match self.replies.next().await {
                Some(Event::Up { generation, .. }) if self.generation != Some(generation) => {
                    self.generation = Some(generation);
                    self.deaf = None;
                    return generation;
                }
                Some(Event::Down { .. }) => self.generation = None,
                Some(_) => {}
                None => std::future::pending().await, // shut down: nothing will come
            }
        }
    }

    /// Whether a refusal is of something that `publishes` knows, or of this publisher's own inbox. That of
    /// the subscription is remembered while the connection stands, as it is said only once.
    pub(super) fn is_denied(
        &mut self,
        text: &Arc<str>,
        publishes: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        let Some(subject) = subject(text) else {
            return true;
        };
        let below = subject.strip_prefix(self.inbox.as_str());
        if !below.is_some_and(|rest| rest.starts_with('.')) {
            return publishes(subject.as_bytes());
        }
        if text.contains("for Subscription") {
            self.deaf = Some(Arc::clone(text));
        }
        true
    }
}

/// Whether the run holds a record of that subject.
pub(super) fn holds(run: &Run, subject: &[u8]) -> bool {
    run.records().any(|record| record.subject == subject)
}

/// The subject that a refusal quotes; `None` where it cannot be told. The server quotes as Go does, so a
/// backslash stands before what it would not write as it is.
fn subject(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('"')?;
    let (subject, _) = rest.split_once('"')?;
    Some(subject).filter(|subject| !subject.contains('\\'))
}

#[cfg(test)]
mod tests {
    use super::subject;

    #[test]
    fn the_server_quotes_the_subject_that_it_refuses() {
        let refused = "Permissions Violation for Publish to \"secret.1\"";
        assert_eq!(subject(refused), Some("secret.1"));
        let inbox = "Permissions Violation for Subscription to \"_INBOX.a.>\" using queue \"q\"";
        assert_eq!(subject(inbox), Some("_INBOX.a.>"));
        assert_eq!(subject("Invalid Publish Subject"), None);
        let escaped = "Permissions Violation for Publish to \"a\\\"b\"";
        assert_eq!(subject(escaped), None);
    }
}
