//! Requests that wait for their reply, all on one wildcard subscription.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::block::Message;
use super::client::Reply;
use super::error::RequestError;

/// Number of the subscription that replies to requests come to.
pub(crate) const REQUESTS_SID: u64 = 1;

pub(crate) type Answer = oneshot::Sender<Result<Reply, RequestError>>;

struct Pending {
    subject: String,
    answer: Answer,
}

/// Requests by their token.
#[derive(Default)]
pub(crate) struct Requests {
    pending: HashMap<u64, Pending>,
}

impl Requests {
    pub(crate) fn insert(&mut self, token: u64, subject: String, answer: Answer) {
        self.pending.insert(token, Pending { subject, answer });
    }

    /// Takes a message to `<inbox>.r.<token>`. One that nobody waits for any more is ignored.
    pub(crate) fn answer(&mut self, message: &Message<'_>) {
        let token = message
            .subject
            .rsplit(|byte| *byte == b'.')
            .next()
            .unwrap_or_default();
        let token = std::str::from_utf8(token)
            .ok()
            .and_then(|token| token.parse::<u64>().ok());
        let Some(pending) = token.and_then(|token| self.pending.remove(&token)) else {
            return;
        };
        let result = match message.status() {
            Some((503, _)) => Err(RequestError::NoResponders),
            _ => Ok(Reply {
                headers: Bytes::copy_from_slice(message.headers),
                payload: Bytes::copy_from_slice(message.payload),
            }),
        };
        let _ = pending.answer.send(result); // the asker may have given up
    }

    /// Fails the requests whose subject stands quoted in the server's `text`.
    pub(crate) fn deny(&mut self, text: &str) {
        let denied = |pending: &Pending| text.contains(&format!("\"{}\"", pending.subject));
        for (_, pending) in self.pending.extract_if(|_, pending| denied(pending)) {
            let _ = pending
                .answer
                .send(Err(RequestError::Denied(text.to_owned())));
        }
    }

    /// Fails all.
    pub(crate) fn fail(&mut self, error: &RequestError) {
        for (_, pending) in self.pending.drain() {
            let _ = pending.answer.send(Err(error.clone()));
        }
    }

    /// Forgets those whose asker has given up.
    pub(crate) fn sweep(&mut self) {
        self.pending
            .retain(|_, pending| !pending.answer.is_closed());
    }
}
