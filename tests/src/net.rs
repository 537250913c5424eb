//! A link between two bridges: control frames in order, batches overtaking each other, cuts of either
//! direction, sessions whose loss takes everything in flight with it.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

/// After so long without a packet a side gives its session up.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The two ends of the link, and the directions away from them.
pub const SIDES: [usize; 2] = [0, 1];

/// Bytes on the way.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The session that it belongs to.
    pub session: u64,
    /// The side that it goes to.
    pub to: usize,
    /// What it is.
    pub content: Content,
}

/// What travels.
#[derive(Debug, Clone)]
pub enum Content {
    /// A control frame.
    Frame(Bytes),
    /// Head and body of a batch.
    Batch(Bytes, Bytes),
}

/// The link.
#[derive(Debug)]
pub struct SimLink {
    /// Time in flight, at least.
    pub latency: Duration,
    /// How much longer a batch may take.
    pub jitter: Duration,
    /// Bytes a second.
    pub rate: u64,
    /// Which directions are cut, by the side that they lead to.
    pub cut: [bool; 2],
    /// The session that each side believes in.
    pub session: [Option<u64>; 2],
    sessions: u64,
    control_at: [Duration; 2],
    held: [Vec<Packet>; 2],
}

impl SimLink {
    /// A link without a session.
    pub fn new(latency: Duration, jitter: Duration, rate: u64) -> Self {
        Self {
            latency,
            jitter,
            rate,
            cut: [false; 2],
            session: [None; 2],
            sessions: 0,
            control_at: [Duration::ZERO; 2],
            held: [Vec::new(), Vec::new()],
        }
    }

    /// Begins a session.
    pub fn connect(&mut self) -> u64 {
        self.sessions += 1;
        self.session = [Some(self.sessions); 2];
        self.held = [Vec::new(), Vec::new()];
        self.sessions
    }

    /// Whether nothing is cut.
    pub fn is_whole(&self) -> bool {
        self.cut == [false; 2]
    }

    /// Puts a packet on its way; the answer is when it arrives. During a cut it is held: QUIC sends
    /// it again until the session is given up.
    pub fn send(
        &mut self,
        packet: Packet,
        now: Duration,
        rng: &mut StdRng,
    ) -> Option<(Duration, Packet)> {
        let to = packet.to;
        if self.cut[to] {
            self.held[to].push(packet);
            return None;
        }
        let at = now + self.latency;
        let at = match packet.content {
            Content::Frame(_) => {
                self.control_at[to] = at.max(self.control_at[to]);
                self.control_at[to]
            }
            Content::Batch(..) => at + self.jitter.mul_f64(rng.random::<f64>()),
        };
        Some((at, packet))
    }

    /// A direction is whole again: what was held is on its way.
    pub fn heal(&mut self, to: usize, now: Duration, rng: &mut StdRng) -> Vec<(Duration, Packet)> {
        self.cut[to] = false;
        let held = std::mem::take(&mut self.held[to]);
        held.into_iter()
            .filter_map(|packet| self.send(packet, now, rng))
            .collect()
    }

    /// How long a batch keeps its sender busy.
    pub fn sending_time(&self, len: usize) -> Duration {
        Duration::from_nanos(len as u64 * 1_000_000_000 / self.rate)
    }
}
