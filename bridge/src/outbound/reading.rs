//! The source stream: where to begin, and its records on their way to the sender.

use causeway_proto::id::{Position, SourceSeq};
use causeway_proto::resume::{Beginning, SourceFacts};
use causeway_proto::sender::Admission;
use tokio::time::Instant;

use super::{Outbound, RETRY};
use crate::source::{Found, SourceEvent};

impl Outbound {
    /// Asks the source what it is now, and what stands at `position`.
    pub(super) fn find(&mut self, position: Position) {
        if self.finding.is_none() {
            let finder = self.source.finder();
            let start = self.start;
            let unresolved = self.memory.now.first.is_none();
            self.finding = Some(tokio::task::spawn_local(async move {
                finder.find(position, unresolved.then_some(start)).await
            }));
        }
    }

    pub(super) async fn handle_found(&mut self, found: Result<Found, String>) {
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                self.reporter.source_unreachable(why);
                self.retry_at = Some(Instant::now() + RETRY);
                return;
            }
        };
        self.reporter.source_measured(found.facts.last_seq);
        if let Some(first) = found.first {
            self.memory.now.first.get_or_insert(first);
        }
        self.memory.now.stream_created_ns = found.created_ns;
        if self.resume.is_some() {
            self.begin_reading(&found.facts).await;
        } else {
            self.open_lane().await;
        }
    }

    async fn begin_reading(&mut self, facts: &SourceFacts) {
        let Some(resume) = self.resume.take() else {
            return;
        };
        let beginning = Beginning {
            behind: self.memory.now.first.unwrap_or_default(),
            sought: self.memory.now.sought,
        };
        match self.sender.handle_resume(&resume, beginning, facts) {
            Ok(from) => {
                let route = self.reporter.name();
                if from.started_over {
                    tracing::warn!(%route, epoch = %from.epoch, "the source stream is another one than the target's last record came from: what is new in it is read");
                }
                tracing::info!(%route, after = %from.follows, epoch = %from.epoch, "reading");
                self.memory.now.first = Some(from.beginning.behind);
                self.memory.now.sought = from.beginning.sought;
                self.memory.now.epoch = from.epoch;
                self.reporter.resumed(from.follows, from.epoch);
                self.pipeline.begin();
                self.freshness.restart();
                let lost = SourceSeq(facts.first_seq.0.saturating_sub(1));
                self.sender.handle_lost_to_retention(lost);
                let created_ns = self.memory.now.stream_created_ns;
                self.source.start(from.follows.max(lost), created_ns);
            }
            Err(fault) => self.refuse(fault).await,
        }
    }

    pub(super) async fn handle_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Records(block) => {
                self.block = Some((block, 0));
                self.take_block().await;
            }
            SourceEvent::NothingThrough(through) => {
                self.sender.handle_nothing_through(through);
                self.freshness.handle_nothing_more();
                self.reporter.source_found(through);
            }
            SourceEvent::LostThrough(through) => self.sender.handle_lost_to_retention(through),
            SourceEvent::Unavailable(why) => self.reporter.source_unreachable(why),
            SourceEvent::WentBack(why) => self.rewind(why).await,
        }
    }

    /// Feeds records to the sender until the block ends or the open batch is full.
    pub(super) async fn take_block(&mut self) {
        let Some((block, mut index)) = self.block.take() else {
            return;
        };
        while index < block.len() {
            if self.sender.is_full() {
                self.block = Some((block, index));
                return;
            }
            if let Some(lost) = block.lost_before(index) {
                self.sender.handle_lost_to_retention(lost);
            }
            let (record, origin) = block.record(index, &mut self.source.judge);
            if origin.forged {
                self.reporter.forged();
            }
            match self.sender.handle_record(&record, origin.returns) {
                Admission::Full => {
                    self.block = Some((block, index));
                    return;
                }
                Admission::Behind => {
                    return self.rewind("a record lies behind what was read").await;
                }
                Admission::Denied(reason) => self.reporter.denied(reason),
                Admission::Batched | Admission::Returned | Admission::Rejected => {}
            }
            index += 1;
        }
        self.reporter.source_found(block.last_seq());
        self.reporter.source_behind(block.behind());
        self.freshness.handle_read(
            block.len() as u64,
            block.wire_bytes() as u64,
            block.behind(),
            self.sender.batch_len_max(),
        );
    }
}
