//! What applications publish.

use std::time::Duration;

use causeway_proto::id::SourceSeq;
use rand::Rng;

use super::{Broken, Event, Shape, World};
use crate::jetstream::{Message, Stores};

/// Records behind which applications wait: enough for every bound, little enough for many seeds.
const BACKLOG_MAX: u64 = 1000;

impl World {
    /// An application publishes, and will again.
    pub(super) fn publish_and_go_on(&mut self, region: usize, stream: usize) {
        if self.now > self.publishing_ends {
            return;
        }
        let burst = if self.backlog(region, stream) > BACKLOG_MAX {
            0
        } else if self.rng.random_ratio(1, 20) {
            self.rng.random_range(1..60)
        } else {
            1
        };
        for _ in 0..burst {
            self.publish_drawn(region, stream);
        }
        let after = self.some(self.options.publish_gap_max);
        let event = Event::Publish(region, stream);
        self.queue.push(self.now + after, event);
    }

    /// Records of a stream that its slowest route has not settled.
    fn backlog(&self, region: usize, stream: usize) -> u64 {
        let place = (region, stream);
        let leaving = self
            .routes
            .iter()
            .filter(|r| (r.path.from, r.path.source) == place);
        let senders = leaving.filter_map(|route| route.outbound.as_ref());
        let settled = senders
            .map(|outbound| outbound.sender.watermark().seq.0)
            .min();
        let last = self.servers[region].streams[stream].last_seq;
        settled.map_or(0, |settled| last.saturating_sub(settled))
    }

    fn publish_drawn(&mut self, region: usize, stream: usize) {
        let shares = self.options.shares;
        let mut chance = |share: u32| self.rng.random_ratio(share, 100);
        let subject = if chance(shares.filtered) {
            "other.a"
        } else if chance(shares.denied) {
            "secret.a"
        } else if chance(shares.skewed) {
            "skew.a"
        } else if chance(shares.unsendable) {
            "open.a b"
        } else {
            "open.a"
        };
        let poison = chance(shares.poison);
        let mortal = chance(shares.mortal);
        let ends = mortal.then(|| self.now + self.some(Duration::from_secs(2)));
        let filler = self.rng.random_range(0..=self.options.filler_max);
        self.publish(region, stream, subject, poison, ends, filler);
    }

    fn publish(
        &mut self,
        region: usize,
        stream: usize,
        subject: &str,
        poison: bool,
        ends: Option<Duration>,
        filler: usize,
    ) {
        let server = &mut self.servers[region];
        if !server.up || !server.quorum {
            return;
        }
        self.messages += 1;
        let message = Message::new(subject, self.messages, poison, ends, filler);
        let kept = &mut server.streams[stream];
        if let Stores::At(seq) = kept.store(message, self.now) {
            self.oracle.stored(region, stream, seq, kept);
        }
    }

    /// Where applications publish.
    pub(super) fn publishers(&self) -> Vec<(usize, usize)> {
        let mut places: Vec<_> = self
            .routes
            .iter()
            .map(|route| (route.path.from, route.path.source))
            .collect();
        if self.options.shape == Shape::SharedTarget {
            places.push((1, 0));
        }
        places
    }

    /// Publishes plain records into the first route's source. For scenarios.
    pub fn publish_plain(&mut self, count: usize) {
        for _ in 0..count {
            self.publish(0, 0, "open.a", false, None, 20);
        }
    }

    /// Publishes one record that every target refuses. For scenarios.
    pub fn publish_poison(&mut self) {
        self.publish(0, 0, "open.a", true, None, 20);
    }

    /// Publishes into the first route's target, as a local application. For scenarios.
    pub fn publish_at_target(&mut self, count: usize) {
        for _ in 0..count {
            self.publish(1, 0, "open.local", false, None, 20);
        }
    }

    /// Messages in the first route's target. For scenarios.
    pub fn target_len(&self) -> usize {
        self.servers[1].streams[0].messages.len()
    }

    /// Last sequence of the first route's target. For scenarios.
    pub fn target_last_seq(&self) -> u64 {
        self.servers[1].streams[0].last_seq
    }

    /// Lets time pass until the first route's target has given out a sequence. For scenarios.
    pub fn run_until_stored(&mut self, seq: u64) -> Result<(), Broken> {
        let deadline = self.now + Duration::from_secs(60);
        while self.target_last_seq() < seq && self.now < deadline {
            self.run_for(Duration::from_micros(500))?;
        }
        Ok(())
    }

    /// Consumers take all that the first route's target holds. For scenarios.
    pub fn consume_all(&mut self) {
        self.servers[1].streams[0].messages.clear();
    }

    /// Records of the first route's target end, and so do the markers of that. For scenarios.
    pub fn end_with_markers(&mut self, count: u64) {
        self.servers[1].streams[0].end_with_markers(count);
    }

    /// An operator lets the first route read again from behind a sequence. For scenarios.
    pub fn seek(&mut self, behind: u64) {
        self.oracle.seek(0);
        self.seek_route(0, SourceSeq(behind));
    }
}
