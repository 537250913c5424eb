//! What a publisher hears besides answers: connections that come and go.

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

    /// An answer to what was given up, or a refusal of it, or of another route. False: the connection is over.
    fn pass_over(&mut self, event: &Event) -> bool {
        match event {
            Event::Block(_) | Event::Denied(_) => {}
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
                    return generation;
                }
                Some(Event::Down { .. }) => self.generation = None,
                Some(_) => {}
                None => std::future::pending().await, // shut down: nothing will come
            }
        }
    }
}
