//! Questions about a source stream: what it is now, and where to start.

use causeway_proto::id::{Position, SourceSeq, StoredAt};
use causeway_proto::resume::SourceFacts;

use crate::command::SeekTo;
use crate::control::{Control, ControlError};

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
    pub(super) control: Control,
    pub(super) stream: String,
}

impl Finder {
    pub(super) fn new(control: Control, stream: String) -> Self {
        Self { control, stream }
    }

    /// The stream's facts, what stands at `position`, and where `start` comes to.
    pub async fn find(&self, position: Position, start: Option<SeekTo>) -> Result<Found, String> {
        let found = self.try_find(position, start).await;
        let found = found.map_err(|why| why.to_string())?;
        let last = found.facts.last_seq;
        match found.first {
            // What lies in between is not wanted, and what would come there is not known yet.
            Some(behind) if behind > last => Err(format!(
                "sequence {} is not there yet: stream {} ends at {last}",
                behind.0 + 1,
                self.stream
            )),
            _ => Ok(found),
        }
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
                self.first_since(position.stored_at.0.saturating_add(1), first, last)
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
}
