//! What the server says of a batch while it is sent, and in the end.

use serde_json::Value;

use super::read_error;

/// What the server has said of a batch so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) acked: u64,
    pub(super) flow: u64,
    pub(super) refusal: Option<(u32, String)>,
    gap: bool,
    pub(super) answer: Option<Answer>,
}

/// The answer to a whole batch.
pub(super) enum Answer {
    Stored { seq: u64, count: u64 },
    Refused { code: u32, description: String },
}

impl Progress {
    /// Nothing was said yet; acknowledgements are expected every `flow` messages.
    pub(super) fn new(flow: u64) -> Self {
        Self {
            flow,
            ..Self::default()
        }
    }

    /// Whether the batch still takes records.
    pub(super) fn is_open(&self) -> bool {
        self.answer.is_none() && self.refusal.is_none() && !self.gap
    }

    /// One answer of the server, which is JSON. True: the batch has come further by it.
    pub(super) fn handle(&mut self, payload: &[u8]) -> bool {
        let before = (self.acked, self.is_open(), self.answer.is_some());
        self.note(payload);
        before != (self.acked, self.is_open(), self.answer.is_some())
    }

    fn note(&mut self, payload: &[u8]) {
        let Ok(said) = serde_json::from_slice::<Value>(payload) else {
            return;
        };
        let number = |field: &str| said[field].as_u64().unwrap_or_default();
        match said["type"].as_str() {
            Some("ack") => {
                self.acked = self.acked.max(number("seq"));
                if number("msgs") > 0 {
                    self.flow = number("msgs");
                }
            }
            Some("gap") => self.gap = true,
            Some("err") => {
                let (code, description) = read_error(&said["error"]);
                if self.refusal.is_none() {
                    self.refusal = Some((code, description));
                }
            }
            _ => match said.get("error") {
                Some(error) => {
                    let (code, description) = read_error(error);
                    // What was under way behind a refused message is refused as of no batch.
                    let echo = code == 10208 && (self.refusal.is_some() || self.gap);
                    if !echo {
                        self.answer
                            .get_or_insert(Answer::Refused { code, description });
                    }
                }
                None => {
                    // A batch of one record that the server had already names that one's sequence; a longer one says 0.
                    let is_known = said["duplicate"] == true;
                    let seq = if is_known { 0 } else { number("seq") };
                    let count = number("count");
                    self.answer.get_or_insert(Answer::Stored { seq, count });
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(said: &[&str]) -> Progress {
        let mut progress = Progress::new(500);
        for text in said {
            progress.handle(text.as_bytes());
        }
        progress
    }

    #[test]
    fn acknowledgements_only_rise_and_the_server_may_shrink_the_flow() {
        let progress = progress(&[
            r#"{"type":"ack","seq":500,"msgs":500}"#,
            r#"{"type":"ack","seq":750,"msgs":250}"#,
            r#"{"type":"ack","seq":600}"#,
            "{ no JSON",
        ]);
        assert_eq!((progress.acked, progress.flow), (750, 250));
        assert!(progress.is_open());
    }

    #[test]
    fn the_answer_to_a_ping_is_no_progress_by_itself() {
        let mut progress = progress(&[r#"{"type":"ack","seq":500,"msgs":500}"#]);
        assert!(!progress.handle(br#"{"type":"ack","seq":500,"msgs":500}"#));
        assert!(!progress.handle(b"{ no JSON"));
        assert!(progress.handle(br#"{"type":"ack","seq":700,"msgs":500}"#));
        assert!(progress.handle(br#"{"type":"gap"}"#));
        assert!(!progress.handle(br#"{"type":"gap"}"#));
        assert!(progress.handle(br#"{"stream":"ORDERS","seq":1039,"count":39}"#));
    }

    #[test]
    fn what_the_server_had_already_took_no_sequence() {
        let alone = r#"{"stream":"ORDERS","seq":7,"duplicate": true,"batch":"1","count":1}"#;
        for said in [
            alone,
            r#"{"stream":"ORDERS","seq":0,"batch":"1","count":1}"#,
        ] {
            let answer = progress(&[said]).answer;
            assert!(matches!(answer, Some(Answer::Stored { seq: 0, count: 1 })));
        }
    }

    #[test]
    fn what_was_under_way_behind_a_refusal_is_no_answer() {
        let refusal = r#"{"type":"err","seq":40,"error":{"err_code":10071,"description":"wrong"}}"#;
        let echo = r#"{"error":{"err_code":10208,"description":"batch publish ID unknown"}}"#;
        let mut refused = progress(&[refusal, echo]);
        assert!(!refused.is_open());
        assert_eq!(refused.refusal, Some((10071, "wrong".to_owned())));
        assert!(refused.answer.is_none());
        refused.handle(br#"{"stream":"ORDERS","seq":1039,"count":39}"#);
        assert!(matches!(
            refused.answer,
            Some(Answer::Stored {
                seq: 1039,
                count: 39
            })
        ));
        assert!(progress(&[r#"{"type":"gap"}"#, echo]).answer.is_none());
        assert!(!progress(&[r#"{"type":"gap"}"#]).is_open());
        // Without either it is the answer: the server has given the batch up.
        let code = match progress(&[echo]).answer {
            Some(Answer::Refused { code, .. }) => Some(code),
            _ => None,
        };
        assert_eq!(code, Some(10208));
    }
}
