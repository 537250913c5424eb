//! What an end writes, as its load wants it.

use std::time::Duration;

use bytes::Bytes;
use causeway_proto::frame::LaneClass;
use causeway_proto::lanes::stream_priority;
use quinn_proto::{Dir, StreamId, WriteError};

use super::super::{BATCH, Load};
use super::{End, FRESH};

impl End {
    /// Writes what the load wants and quinn takes.
    pub(super) fn write(&mut self, now: Duration) {
        while let Some((id, mut rest)) = self.sending.take().or_else(|| self.begin_batch(now)) {
            let Some((_, connection)) = &mut self.connection else {
                return;
            };
            match connection.send_stream(id).write_chunks(&mut [rest.clone()]) {
                Ok(written) => {
                    let _ = rest.split_to(written.bytes);
                }
                Err(WriteError::Blocked) => {
                    self.sending = Some((id, rest));
                    return;
                }
                Err(_) => return,
            }
            if rest.is_empty() {
                let _ = connection.send_stream(id).finish();
            } else {
                self.sending = Some((id, rest));
            }
        }
    }

    /// The small batch that goes before the large ones: when it was written.
    pub(super) fn write_fresh(&mut self, now: Duration) {
        let Load::Both { every } = self.load else {
            return;
        };
        let is_due = self.sent_at.is_none_or(|at| now >= at + every);
        let Some((_, connection)) = self.connection.as_mut().filter(|_| is_due) else {
            return;
        };
        if connection.is_handshaking() {
            return;
        }
        let Some(id) = connection.streams().open(Dir::Uni) else {
            return;
        };
        let mut fresh = vec![FRESH];
        fresh.extend_from_slice(&(now.as_nanos() as u64).to_be_bytes());
        let mut stream = connection.send_stream(id);
        let _ = stream.set_priority(stream_priority(LaneClass::Live, 0));
        let _ = stream.write(&fresh);
        let _ = stream.finish();
        self.sent_at = Some(now);
    }

    /// The next batch, if the load has one now.
    fn begin_batch(&mut self, now: Duration) -> Option<(StreamId, Bytes)> {
        let (_, connection) = self.connection.as_mut()?;
        if connection.is_handshaking() || self.ended {
            return None;
        }
        let held: usize = self.unacknowledged.values().sum();
        let len = match self.load {
            Load::Nothing => return None,
            Load::Saturating => BATCH,
            Load::Credit(most) => (held < most).then_some(BATCH)?,
            // quinn holds more than the path does, but has room for the small ones.
            Load::Both { .. } => (held < 2 * BATCH).then_some(BATCH)?,
            Load::Trickle { len, every } => {
                let is_due = self.sent_at.is_none_or(|at| now >= at + every);
                is_due.then_some(len)?
            }
        };
        let id = connection.streams().open(Dir::Uni)?;
        if !matches!(self.load, Load::Both { .. }) {
            self.sent_at = Some(now);
        }
        self.begun += 1;
        let priority = stream_priority(LaneClass::Bulk, self.begun);
        let _ = connection.send_stream(id).set_priority(priority);
        self.unacknowledged.insert(id, len);
        Some((id, self.batch.slice(..len)))
    }
}
