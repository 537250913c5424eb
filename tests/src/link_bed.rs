//! Links in virtual time: quinn's protocol, our controller and our shaper, without a socket or a clock.
//!
//! A [`Bed`] is one path, both directions of it, and the connections that share it. Each connection has a
//! sender that always has a batch to send (256 KiB, a uni stream each, as the sidecar does it; or see [`Load`]) and a
//! receiver that reads every stream as it comes. Both ends run the sidecar's own controller and its own
//! `Shaper`; only the socket is missing. Ten seconds of 100 Mbit/s take about one of CPU.

mod end;
mod tls;

use std::time::{Duration, Instant};

use causeway::link::{DeclaredRate, PathHints};
use causeway::wan::{Link, Path, PathCounters, Profile};

use end::{Datagram, End};

/// Bytes of a batch.
pub const BATCH: usize = 256 << 10;
/// The largest datagram that quinn finds a path to carry by itself, and the packet around it.
pub const PAYLOAD_MAX: u64 = 1452;
/// See [`PAYLOAD_MAX`].
pub const PACKET_MAX: u64 = PAYLOAD_MAX + 28;
/// Of a full packet, what is data: the rest are headers of IP, UDP, QUIC and its stream frame.
pub const PAYLOAD_SHARE: f64 = 1412.0 / 1480.0;

/// What a sender has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Nothing at all.
    Nothing,
    /// Always another batch.
    Saturating,
    /// Batches while less than so many bytes are unacknowledged: what a receiver's credit does.
    Credit(usize),
    /// A small batch now and then: fresh records.
    Trickle {
        /// Bytes of a batch.
        len: usize,
        /// Time between two.
        every: Duration,
    },
    /// Always another batch, and small ones of a higher priority now and then.
    Both {
        /// Time between two small ones.
        every: Duration,
    },
}

/// One connection's two ends.
struct Pair {
    sender: End,
    receiver: End,
}

/// See the module.
pub struct Bed {
    now: Duration,
    epoch: Instant,
    pairs: Vec<Pair>,
    there: Path<(usize, Datagram)>,
    back: Path<(usize, Datagram)>,
    /// What the sender's shaper let go: when, and the size of the packet.
    left: Vec<(Duration, u64)>,
}

/// What happened between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// How long it was.
    pub time: Duration,
    /// Bytes of batches that the receiver read.
    pub read: u64,
    /// The path's counters, from sender to receiver, since it began.
    pub path: PathCounters,
    before: PathCounters,
}

impl Stretch {
    /// Bits of batches a second.
    pub fn goodput(&self) -> f64 {
        self.read as f64 * 8.0 / self.time.as_secs_f64()
    }

    /// Goodput as a share of what a link of that rate and loss could carry at most.
    pub fn of_ideal(&self, rate: u64, loss: f64) -> f64 {
        self.goodput() / (rate as f64 * (1.0 - loss) * PAYLOAD_SHARE)
    }

    /// The mean wait for the wire.
    pub fn queue_mean(&self) -> Duration {
        let packets = self.path.passed_packets - self.before.passed_packets;
        (self.path.waited - self.before.waited) / u32::try_from(packets.max(1)).unwrap_or(u32::MAX)
    }

    /// Packets for which the bottleneck's queue had no room, or that its policer dropped, of those that entered.
    pub fn dropped(&self) -> f64 {
        let entered = self.path.entered_packets - self.before.entered_packets;
        let of = |counters: &PathCounters| counters.overflowed_packets + counters.policed_packets;
        (of(&self.path) - of(&self.before)) as f64 / entered.max(1) as f64
    }
}

impl Bed {
    /// A path of that profile both ways, without connections.
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            epoch: Instant::now(),
            pairs: Vec::new(),
            there: Path::new(profile, seed),
            back: Path::new(profile, seed ^ 0x5eed),
            left: Vec::new(),
        }
    }

    /// The path of that name.
    ///
    /// # Panics
    /// When there is none.
    pub fn named(name: &str, seed: u64) -> (Self, Link) {
        let link = Link::named(name).expect("a link's name");
        (Self::new(link.profile(), seed), link)
    }

    /// Another connection, whose both ends declare that rate. The round trip is not declared.
    pub fn connect(&mut self, rate: &DeclaredRate) -> usize {
        self.connect_over(&PathHints {
            rate: rate.clone(),
            ..PathHints::default()
        })
    }

    /// Another connection, whose both ends know that much of the path.
    pub fn connect_over(&mut self, hints: &PathHints) -> usize {
        let number = self.pairs.len();
        let (sender, receiver) = End::pair(self.epoch, self.now, hints, number as u64);
        self.pairs.push(Pair { sender, receiver });
        number
    }

    /// Changes what a connection has to send.
    pub fn load(&mut self, connection: usize, load: Load) {
        self.pairs[connection].sender.set_load(load);
    }

    /// How long each small batch of [`Load::Both`] took to the receiver.
    pub fn delays(&self, connection: usize) -> &[Duration] {
        self.pairs[connection].receiver.delays()
    }

    /// Time since the bed began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Bits a second that a sender's controller allows.
    pub fn pace(&self, connection: usize) -> u64 {
        self.pairs[connection].sender.pace().unwrap_or(0)
    }

    /// Changes the path from sender to receiver.
    pub fn change(&mut self, profile: Profile) {
        self.there.change(self.now, profile);
    }

    /// Runs for so long, and says what the first connection did.
    pub fn run(&mut self, time: Duration) -> Stretch {
        self.run_all(time)[0]
    }

    /// Runs for so long, and says what each connection did.
    pub fn run_all(&mut self, time: Duration) -> Vec<Stretch> {
        let end = self.now + time;
        let before = self.there.counters();
        let read: Vec<u64> = self.pairs.iter().map(|pair| pair.receiver.read()).collect();
        while self.now < end {
            self.turn();
            let next = self.next_at().unwrap_or(end);
            // Nothing that is due stays undone, so time moves.
            self.now = next.max(self.now + Duration::from_nanos(1)).min(end);
        }
        let path = self.there.counters();
        let stretch = |(pair, before_read): (&Pair, u64)| Stretch {
            time,
            read: pair.receiver.read() - before_read,
            path,
            before,
        };
        self.pairs.iter().zip(read).map(stretch).collect()
    }

    /// Whether every connection still stands.
    pub fn stands(&self) -> bool {
        self.pairs
            .iter()
            .all(|pair| pair.sender.stands() && pair.receiver.stands())
    }

    /// The largest datagram that a connection sends.
    pub fn mtu(&self, connection: usize) -> u16 {
        self.pairs[connection].sender.mtu()
    }

    /// The most bytes that left the sender beyond `rate` in any interval, over all that left so far.
    pub fn excess(&self, rate: u64) -> i64 {
        // The largest sum of (bytes - rate * gap) over a run of packets, after Kadane.
        let (mut worst, mut run) = (i128::MIN, 0i128);
        let mut last: Option<Duration> = None;
        let bit = 1_000_000_000i128;
        for (at, bytes) in &self.left {
            let gap = last.map_or(0, |last| (*at - last).as_nanos() as i128);
            run = (run - gap * i128::from(rate)).max(0) + i128::from(*bytes) * 8 * bit;
            worst = worst.max(run);
            last = Some(*at);
        }
        i64::try_from(worst / (8 * bit)).unwrap_or(i64::MAX)
    }

    /// Does everything that is due now.
    fn turn(&mut self) {
        while let Some((pair, datagram)) = self.there.leave(self.now) {
            self.pairs[pair].receiver.receive(self.now, datagram);
        }
        while let Some((pair, datagram)) = self.back.leave(self.now) {
            self.pairs[pair].sender.receive(self.now, datagram);
        }
        for (number, pair) in self.pairs.iter_mut().enumerate() {
            for datagram in pair.sender.drive(self.now) {
                let bytes = datagram.packet_len();
                self.left.push((self.now, bytes));
                self.there
                    .enter(self.now, bytes as usize, (number, datagram));
            }
            for datagram in pair.receiver.drive(self.now) {
                let bytes = datagram.packet_len() as usize;
                self.back.enter(self.now, bytes, (number, datagram));
            }
        }
    }

    fn next_at(&self) -> Option<Duration> {
        let ends = self
            .pairs
            .iter()
            .flat_map(|pair| [pair.sender.next_at(), pair.receiver.next_at()])
            .flatten();
        ends.chain(self.there.next_at())
            .chain(self.back.next_at())
            .min()
    }
}
