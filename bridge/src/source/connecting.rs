//! From a connection to a consumer that is read.

use causeway_proto::id::SourceSeq;
use tokio::time::{Instant, sleep_until};

use super::consumer::{self, Made};
use super::reading::Reading;
use super::{RETRY, Source, SourceEvent, State};
use crate::nats;

impl Source {
    /// While stopped, connections come and go.
    pub(super) async fn idle(&mut self) -> Option<SourceEvent> {
        let event = self.replies.next().await;
        self.note_connection(event.as_ref()).await;
        None
    }

    pub(super) async fn come_up(&mut self) -> Option<SourceEvent> {
        let State::Down { retry_at } = &self.state else {
            return None;
        };
        let retry_at = *retry_at;
        if self.generation.is_none() {
            let event = self.replies.next().await;
            self.note_connection(event.as_ref()).await;
            return None;
        }
        if let Some(at) = retry_at {
            sleep_until(at).await;
        }
        let making = consumer::make(
            self.control.clone(),
            self.stream.clone(),
            self.filters.clone(),
            self.read,
        );
        self.state = State::Creating(tokio::task::spawn_local(making));
        None
    }

    pub(super) async fn await_consumer(&mut self) -> Option<SourceEvent> {
        let State::Creating(task) = &mut self.state else {
            return None;
        };
        let result = task
            .await
            .expect("a task of ours neither panics nor is aborted");
        match result {
            Ok(made) => self.begin(made),
            Err(why) => {
                self.state = State::Down {
                    retry_at: Some(Instant::now() + RETRY),
                };
                Some(SourceEvent::Unavailable(why.to_string()))
            }
        }
    }

    fn begin(&mut self, made: Made) -> Option<SourceEvent> {
        let size = self.pull_size.allowed(made.batch_max);
        self.state = State::Reading(Reading::new(made.consumer, &self.inbox, size));
        if !made.goes_on {
            self.stop();
            return Some(SourceEvent::WentBack(
                "it is not the stream that was read, or holds less of it",
            ));
        }
        self.pull();
        let lost = SourceSeq(made.first_seq.0.saturating_sub(1));
        (lost > self.read.through).then(|| {
            self.read.through = lost;
            SourceEvent::LostThrough(lost)
        })
    }

    /// Keeps the number of the connection; without one, reading waits for the next.
    pub(super) async fn note_connection(&mut self, event: Option<&nats::Event>) {
        match event {
            Some(nats::Event::Up { generation, .. }) => {
                self.generation = Some(*generation);
                self.recreate();
            }
            Some(nats::Event::Down { .. }) => {
                self.generation = None;
                self.recreate();
            }
            Some(_) => {}
            None => std::future::pending().await, // shut down: nothing will come
        }
    }

    /// Another connection, another consumer: the server forgets the one of before by itself.
    fn recreate(&mut self) {
        if !self.is_stopped() {
            self.state = State::Down { retry_at: None };
        }
    }
}
