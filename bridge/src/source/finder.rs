//! Questions about a source stream: what it is now, where to start, and keeping records aside.

use causeway_proto::frame::Rejected;
use causeway_proto::id::{Position, RouteName, SourceSeq, StoredAt};
use causeway_proto::resume::SourceFacts;
use serde_json::json;

use crate::command::SeekTo;
use crate::control::{Control, ControlError};

/// Where rejected records are kept, in their own region.
const REJECTED_STREAM: &str = "CAUSEWAY_REJECTED";

/// What was found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The stream now.
    pub facts: SourceFacts,
    /// When it was created.
    pub created_ns: u64,
    /// The position that reading begins behind, if that was asked.
    pub first: Option<SourceSeq>,
}

/// Asks about one stream. Cheap to make.
#[derive(Debug, Clone)]
pub struct Finder {
    control: Control,
    stream: String,
}

impl Finder {
    pub(super) fn new(control: Control, stream: String) -> Self {
        Self { control, stream }
    }

    /// The stream's facts, what stands at `position`, and where `start` comes to.
    pub async fn find(&self, position: Position, start: Option<SeekTo>) -> Result<Found, String> {
        self.try_find(position, start)
            .await
            .map_err(|why| why.to_string())
    }

    pub(super) async fn try_find(
        &self,
        position: Position,
        start: Option<SeekTo>,
    ) -> Result<Found, ControlError> {
        let info = self.control.stream(&self.stream).await?;
        let younger_from = self
            .younger_from(position, info.first_seq, info.last_seq)
            .await?;
        let first = match start {
            None => None,
            Some(SeekTo::First) => Some(info.first_seq.saturating_sub(1)),
            Some(SeekTo::New) => Some(info.last_seq),
            Some(SeekTo::Sequence(seq)) => Some(seq.saturating_sub(1)),
            Some(SeekTo::Time(at)) => {
                Some(self.first_since(at, info.first_seq, info.last_seq).await? - 1)
            }
        };
        let facts = SourceFacts {
            first_seq: SourceSeq(info.first_seq.max(1)),
            last_seq: SourceSeq(info.last_seq),
            younger_from: SourceSeq(younger_from),
        };
        Ok(Found {
            facts,
            created_ns: info.created_ns,
            first: first.map(SourceSeq),
        })
    }

    /// The first sequence whose record is younger than the record of `position`.
    async fn younger_from(
        &self,
        position: Position,
        first: u64,
        last: u64,
    ) -> Result<u64, ControlError> {
        let next = position.seq.0 + 1;
        if position.seq == SourceSeq(0) || position.stored_at == StoredAt(0) {
            return Ok(next);
        }
        match self.control.record(&self.stream, position.seq.0).await? {
            Some(record) if record.at == position => Ok(next),
            _ => {
                self.first_since(position.stored_at.0 + 1, first, last)
                    .await
            }
        }
    }

    /// The first sequence whose record was stored at `time` or later, by halving.
    async fn first_since(&self, time: u64, first: u64, last: u64) -> Result<u64, ControlError> {
        let (mut low, mut high) = (first.max(1), last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.control.next_record(&self.stream, middle).await? {
                Some(record) if record.at.stored_at.0 < time => low = record.at.seq.0 + 1,
                _ => high = middle,
            }
        }
        Ok(low.max(1))
    }

    /// Copies a record that the target refused into [`REJECTED_STREAM`] of this region. The message
    /// is the original payload; what it was and why it is here stand in headers.
    pub async fn keep_aside(&self, route: &RouteName, rejected: &Rejected) -> Result<(), String> {
        self.try_keep_aside(route, rejected)
            .await
            .map_err(|why| why.to_string())
    }

    async fn try_keep_aside(
        &self,
        route: &RouteName,
        rejected: &Rejected,
    ) -> Result<(), ControlError> {
        let seq = rejected.at.seq.0;
        let Some(record) = self.control.record(&self.stream, seq).await? else {
            return Ok(()); // it left the source meanwhile: there is nothing to keep
        };
        self.ensure_stream().await?;
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in [
            ("Causeway-Rejected-Stream", self.stream.clone()),
            ("Causeway-Rejected-Sequence", seq.to_string()),
            ("Causeway-Rejected-Subject", record.subject.clone()),
            ("Causeway-Rejected-Code", rejected.code.to_string()),
            ("Causeway-Rejected-Reason", plain(&rejected.reason)),
            (
                "Causeway-Rejected-Headers",
                plain(&String::from_utf8_lossy(&record.headers)),
            ),
            (
                "Nats-Msg-Id",
                format!("{route}.{seq}.{}", rejected.at.stored_at),
            ),
        ] {
            headers.insert(name, value.as_str());
        }
        let subject = format!("{REJECTED_STREAM}.{route}");
        self.control.store(subject, headers, record.payload).await
    }

    async fn ensure_stream(&self) -> Result<(), ControlError> {
        match self.control.stream(REJECTED_STREAM).await {
            Err(why) if why.is_missing() => {
                let config = json!({
                    "name": REJECTED_STREAM,
                    "description": "Records that a target refused, kept by Causeway",
                    "subjects": [format!("{REJECTED_STREAM}.>")],
                    "storage": "file",
                    "retention": "limits",
                    "max_age": 0,
                    "allow_direct": true,
                });
                self.control.create_stream(&config).await.map(|_| ())
            }
            found => found.map(|_| ()),
        }
    }
}

/// A header value on one line of ASCII.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(char::escape_default)
        .take(2048)
        .collect()
}
