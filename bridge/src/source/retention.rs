//! Whether what a consumer jumped over was lost: limits take records from a stream's front, and a
//! reader that its link holds up may come too late for them.
//!
//! Filters jump over positions all the time, and only the stream's first sequence tells the one from
//! the other. So it is asked where records may have waited at the server, once a second at most, and
//! at every jump while the answer is that records were lost. Until the answer the block is held.

use std::time::Duration;

use causeway_proto::id::SourceSeq;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Block;
use crate::control::Control;
use crate::wait::join;

/// Between questions whose answer is that nothing was lost.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Owns the block whose jump is being looked into.
#[derive(Default)]
pub(super) struct Retention {
    /// With where reading stood before it.
    held: Option<(Block, SourceSeq)>,
    first_seq: Option<JoinHandle<Option<u64>>>,
    ask_from: Option<Instant>,
}

impl Retention {
    /// Holds a block that jumps over positions behind `after` until the stream has answered. Gives it
    /// back if it was asked a moment ago.
    pub(super) fn hold(
        &mut self,
        block: Block,
        after: SourceSeq,
        control: &Control,
        stream: &str,
    ) -> Option<Block> {
        if self.ask_from.is_some_and(|from| Instant::now() < from) {
            return Some(block);
        }
        let (control, stream) = (control.clone(), stream.to_owned());
        self.first_seq = Some(tokio::task::spawn_local(async move {
            control
                .stream(&stream)
                .await
                .ok()
                .map(|info| info.first_seq)
        }));
        self.held = Some((block, after));
        None
    }

    /// The block that is held, once it is known what it jumped over; at once, if none is. Cancel safe.
    pub(super) async fn release(&mut self) -> Option<Block> {
        self.held.as_ref()?;
        let first_seq = join(&mut self.first_seq).await;
        self.first_seq = None;
        let (mut block, after) = self.held.take()?;
        let lost = first_seq.map_or(0, |first| first.saturating_sub(1));
        let loses = block.note_lost(after, SourceSeq(lost));
        self.ask_from = (!loses).then(|| Instant::now() + ASK_INTERVAL);
        Some(block)
    }

    /// Reading stops.
    pub(super) fn clear(&mut self) {
        self.held = None;
        if let Some(asked) = self.first_seq.take() {
            asked.abort();
        }
    }
}
