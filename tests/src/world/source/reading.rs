//! How a sender's driver reads: where the stream stands, from where on, and what one read brings.

use super::*;

impl World {
    /// Asks the source what it is now, and what stands at a position.
    pub(super) fn find(&mut self, number: usize, position: Position) {
        let path = self.routes[number].path;
        let server = &self.servers[path.from];
        let stream = &server.streams[path.source];
        let facts = (server.up && server.quorum).then(|| SourceFacts {
            first_seq: SourceSeq(stream.first_seq()),
            last_seq: SourceSeq(stream.last_seq),
            younger_from: stream.younger_from(position),
        });
        let reader = (server.generation, stream.incarnation);
        let created_ns = stream.created_ns;
        let after = self.local_latency();
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        self.questions += 1;
        outbound.finding = Some(self.questions);
        outbound.asked_at = self.now;
        let event = BridgeEvent::Found {
            route: number,
            question: self.questions,
            facts,
            reader,
            created_ns,
        };
        self.later(path.from, after, event);
    }

    pub(in crate::world) fn found(
        &mut self,
        number: usize,
        question: u64,
        facts: Option<SourceFacts>,
        reader: (u64, u64),
        created_ns: u64,
    ) {
        let from = self.routes[number].path.from;
        let now = self.now;
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        if outbound
            .finding
            .take_if(|asked| *asked == question)
            .is_none()
        {
            return; // asked for a lane that is closed
        }
        let Some(facts) = facts else {
            outbound.retry_at = Some(now + RETRY);
            return self.later(from, RETRY, BridgeEvent::Wake);
        };
        outbound.checkpoint.first.get_or_insert(SourceSeq(0));
        outbound.checkpoint.stream_created_ns = created_ns;
        if outbound.resume.is_some() {
            self.begin_reading(number, &facts, reader);
        }
    }

    pub(super) fn begin_reading(&mut self, number: usize, facts: &SourceFacts, reader: (u64, u64)) {
        let path = self.routes[number].path;
        let target_seen = self.routes[number]
            .inbound
            .as_ref()
            .map_or(Duration::ZERO, |i| i.resumes_seen_at);
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        let Some(resume) = outbound.resume.take() else {
            return;
        };
        let beginning = Beginning {
            behind: outbound.checkpoint.first.unwrap_or_default(),
            sought: outbound.checkpoint.sought,
        };
        let from = match outbound.sender.handle_resume(&resume, beginning, facts) {
            Ok(from) => from,
            Err(fault) => {
                return self
                    .oracle
                    .fail(format!("route {number} refuses {resume:?}: {fault}"));
            }
        };
        outbound.checkpoint.first = Some(from.beginning.behind);
        outbound.checkpoint.sought = from.beginning.sought;
        outbound.checkpoint.epoch = from.epoch;
        outbound.encoder = Some(LaneEncoder::new(Effort::default()));
        outbound.books = crate::world::route::CreditBooks {
            granted: resume.credit,
            ..Default::default()
        };
        let lost = SourceSeq(facts.first_seq.0.saturating_sub(1));
        outbound.sender.handle_lost_to_retention(lost);
        outbound.reader = Some(reader);
        outbound.read_due = true;
        self.oracle
            .resumed(number, from.epoch, outbound.asked_at, target_seen);
        self.tell(|| format!("route {number} reads: {from:?}"));
        self.later(
            path.from,
            Duration::from_micros(200),
            BridgeEvent::Read(number),
        );
    }

    /// Looks into the stream, and hands over what is there.
    pub(in crate::world) fn read(&mut self, number: usize) {
        let path = self.routes[number].path;
        let brings = self.rng.random_range(1..=READ_MAX);
        let server = &self.servers[path.from];
        let stream = &server.streams[path.source];
        let Some(outbound) = self.routes[number].outbound.as_mut() else {
            return;
        };
        outbound.read_due = false;
        let Some(reader) = outbound.reader else {
            return;
        };
        if !server.up || (server.generation, stream.incarnation) != reader {
            // The consumer is gone, and what it would read next may be another stream.
            self.tell(|| format!("route {number} lost its reader"));
            return self.end_lane(number, LaneCloseReason::Rewind);
        }
        let mut after = outbound.sender.read_through().seq;
        let lost = SourceSeq(stream.first_seq() - 1);
        if lost > after {
            outbound.sender.handle_lost_to_retention(lost);
            after = lost;
        }
        let mut taken = 0;
        let mut reached_end = true;
        for (seq, stored) in stream.messages.range(after.0 + 1..) {
            if stored.message.subject.starts_with("other.") {
                continue;
            }
            if taken == brings || !outbound.sender.wants_records() {
                reached_end = false;
                break;
            }
            let admission = hand_over(&mut outbound.sender, *seq, stored, path.to);
            assert_ne!(admission, Admission::Behind, "read in the stream's order");
            if admission == Admission::Full {
                reached_end = false;
                break;
            }
            taken += 1;
        }
        if reached_end {
            outbound
                .sender
                .handle_nothing_through(SourceSeq(stream.last_seq));
        }
        self.oracle.totals(number, outbound.sender.totals());
    }
}
