//! What applications publish.

use std::time::Duration;

use rand::Rng;

use super::{Event, Shape, World};
use crate::jetstream::{Message, Stores};

/// Records behind which applications wait: enough for every bound, little enough for many seeds.
const BACKLOG_MAX: u64 = 1000;

impl World {
    /// An application publishes, and will again.
    pub(super) fn publish_and_go_on(&mut self, region: usize, stream: usize) {
        if self.now > self.publishing_ends {
            return;
        }
        let settled = self
            .routes
            .iter()
            .filter(|route| (route.path.from, route.path.source) == (region, stream));
        let settled = settled
            .filter_map(|route| route.outbound.as_ref())
            .map(|o| o.sender.watermark().seq.0)
            .min();
        let backlog = settled.map_or(0, |settled| {
            self.servers[region].streams[stream]
                .last_seq
                .saturating_sub(settled)
        });
        let burst = if backlog > BACKLOG_MAX { 0 } else { 1 }
            * if self.rng.random_ratio(1, 20) {
                self.rng.random_range(1..60)
            } else {
                1
            };
        for _ in 0..burst {
            self.publish_drawn(region, stream);
        }
        let after = self.some(self.options.publish_gap_max);
        self.queue
            .push(self.now + after, Event::Publish(region, stream));
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
}
