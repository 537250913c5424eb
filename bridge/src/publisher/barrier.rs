//! The barrier: before the target is believed, it has taken or refused all that was sent to it before.
//!
//! That the server has read an old connection to its end says little: what it read passes through the stream's
//! queue, and in a cluster through Raft as well. So a message that the stream must refuse, because it expects a
//! sequence that no stream reaches, goes through the same queue. Its refusal comes out behind everything else, and names
//! the last sequence as the leader counts it, with what it has proposed and not yet stored: until the stream says that it
//! has that one, it is asked again.

use std::time::Duration;

use causeway_proto::frame::StallReason;
use causeway_proto::run::Stalled;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::fast::read_error;
use super::{ANSWER_TIMEOUT, Publisher, forbidden};
use crate::control::StreamInfo;
use crate::nats::{Block, Event, append_publish};

/// `err_code` of the refusal that is wanted: "wrong last sequence: N".
const WRONG_LAST_SEQUENCE: u32 = 10071;
const HEADERS: &[u8] = b"NATS/1.0\r\nNats-Expected-Last-Sequence: 9000000000000000000\r\n\r\n";
/// Between two looks at a stream that has proposed more than it has stored. A round of Raft takes less.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Publisher {
    /// The target once it holds all that it had proposed when it was asked.
    pub(super) async fn settled(&mut self, info: StreamInfo) -> Result<StreamInfo, Stalled> {
        let Some(subject) = info.config["subjects"][0].as_str() else {
            return Err(Stalled {
                reason: StallReason::TargetUnfit,
                detail: "the target takes no subjects".into(),
            });
        };
        let subject = subject.replace(['*', '>'], "causeway-barrier");
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let proposed = self.pass_barrier(&subject).await?;
            let info = self.find_or_create().await.map_err(|why| why.stalled())?;
            if info.last_seq >= proposed {
                return Ok(info);
            }
            if Instant::now() > deadline {
                let detail = format!(
                    "the target has proposed records up to {proposed} and stored {}",
                    info.last_seq
                );
                return Err(Stalled {
                    reason: StallReason::NoQuorum,
                    detail,
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits for the refusal, and returns the last sequence that it names; 0 where it names none.
    async fn pass_barrier(&mut self, subject: &str) -> Result<u64, Stalled> {
        let is_up = self.catch_up();
        let Some(generation) = self.generation.filter(|_| is_up) else {
            return Err(down("no connection"));
        };
        if let Some(text) = &self.deaf {
            return Err(forbidden(text));
        }
        self.runs += 1;
        let reply = format!("{}.b{:x}", self.inbox, self.runs);
        self.chunk.clear();
        let (to, answer) = (subject.as_bytes(), reply.as_bytes());
        append_publish(&mut self.chunk, to, answer, &[HEADERS], &[])
            .map_err(|_| down("the target's subject cannot be published to"))?;
        if !self.hand_over(generation).await {
            return Err(down("no connection"));
        }
        loop {
            match timeout(ANSWER_TIMEOUT, self.replies.next()).await {
                Err(_) => return Err(down("the target's server does not answer publishes")),
                Ok(Some(Event::Block(block))) => {
                    if let Some(proposed) = find_refusal(&block, answer) {
                        return proposed;
                    }
                }
                Ok(Some(Event::Denied(text))) => {
                    if self.is_denied(&text, |denied| denied == to) {
                        return Err(forbidden(&text));
                    }
                }
                Ok(Some(Event::Up {
                    generation: new, ..
                })) if new == generation => {}
                Ok(_) => {
                    self.generation = None;
                    return Err(down("the connection is gone"));
                }
            }
        }
    }
}

fn down(detail: &str) -> Stalled {
    Stalled {
        reason: StallReason::TargetUnreachable,
        detail: detail.to_owned(),
    }
}

fn find_refusal(block: &Block, reply: &[u8]) -> Option<Result<u64, Stalled>> {
    let mut messages = block.iter();
    let message = messages.find(|message| message.subject == reply)?;
    Some(match message.status() {
        Some(_) => Err(down(
            "no stream takes the subject, or none that has a leader",
        )),
        None => Ok(proposed(message.payload)),
    })
}

/// The last sequence in the refusal's words. A refusal for another reason, such as a full stream, has passed the queue as well.
fn proposed(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let (code, description) = read_error(&answer["error"]);
    let named = description.rsplit(' ').next().unwrap_or_default();
    match code {
        WRONG_LAST_SEQUENCE => named.parse().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::proposed;

    #[test]
    fn the_refusal_names_the_last_sequence() {
        let refusal = br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4711"},"stream":"S","seq":0}"#;
        assert_eq!(proposed(refusal), 4711);
        let full = br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded 7"}}"#;
        assert_eq!(proposed(full), 0);
        assert_eq!(proposed(b"{ no JSON"), 0);
    }
}
