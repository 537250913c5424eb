//! What a simulated world is like: written down by a scenario, or drawn from a seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The routes of a world. The first always leads from region 0 to region 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One route, which alone writes its target.
    Alone,
    /// A second route into the same target stream, where applications publish too.
    SharedTarget,
    /// A second route the other way, with streams of its own.
    BothWays,
    /// A second route the other way between the same two streams: everything would loop.
    Mirrored,
}

/// A kind of fault; a world has those that are drawn for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One or both directions of the link are cut, for milliseconds or for many seconds.
    Cut,
    /// The session is lost, with what is in flight.
    SessionLost,
    /// A bridge is killed, and starts again.
    BridgeCrash,
    /// A bridge does nothing for a while, and goes on.
    BridgePause,
    /// A bridge is killed and its state directory deleted.
    StoreDeleted,
    /// The connection of a publisher breaks; its last bytes are still read by the server.
    ConnectionLost,
    /// A server ends without warning and starts again.
    ServerCrash,
    /// A server's machine loses power: what was not fsynced is gone.
    PowerLost,
    /// A target is full for a while.
    Full,
    /// A region has no quorum for a while.
    NoQuorum,
    /// Records are deleted from a source, or it is purged.
    Purge,
    /// A source stream is deleted and made anew.
    SourceRecreated,
    /// A source stream is put back to an older state.
    SourceRolledBack,
    /// A target stream is deleted and made anew.
    TargetRecreated,
    /// A target stream is put back to an older state while its connection stands.
    TargetRolledBack,
}

impl Fault {
    const ALL: [Self; 14] = [
        Self::Cut,
        Self::SessionLost,
        Self::BridgeCrash,
        Self::BridgePause,
        Self::StoreDeleted,
        Self::ConnectionLost,
        Self::ServerCrash,
        Self::PowerLost,
        Self::Full,
        Self::NoQuorum,
        Self::Purge,
        Self::SourceRecreated,
        Self::SourceRolledBack,
        Self::TargetRecreated,
    ];
}

/// How often a record is of a special kind, in one hundred.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shares {
    /// Of another subject than the route reads.
    pub filtered: u32,
    /// Kept in its region by residency.
    pub denied: u32,
    /// Denied by the target's rules alone.
    pub skewed: u32,
    /// Refused by every target's server.
    pub poison: u32,
    /// Of a subject that no batch can hold.
    pub unsendable: u32,
    /// With a time to live that may end on the way.
    pub mortal: u32,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where all randomness comes from.
    pub seed: u64,
    /// The routes.
    pub shape: Shape,
    /// Whether consumers take records away from the target.
    pub work_queue: bool,
    /// Whether the target's server writes a marker where the last record of a subject ended.
    pub adds_markers: bool,
    /// The targets' duplicate window.
    pub window: Duration,
    /// Whether source streams keep only so many records.
    pub source_max: Option<usize>,
    /// Least time in flight on the link, one way.
    pub latency: Duration,
    /// By how much batches overtake each other.
    pub jitter: Duration,
    /// Bytes a second on the link.
    pub rate: u64,
    /// `SenderConfig::batch_len_max`.
    pub batch_len_max: usize,
    /// `SenderConfig::batch_records_max`.
    pub batch_records_max: u32,
    /// `ReceiverConfig::credit_window`.
    pub credit_window: u64,
    /// `ReceiverConfig::decoded_max`.
    pub decoded_max: usize,
    /// `ReceiverConfig::run_records_max`.
    pub run_records_max: u32,
    /// `ReceiverConfig::run_len_max`.
    pub run_len_max: usize,
    /// Longest filler of a payload.
    pub filler_max: usize,
    /// Longest time between two publishes of an application.
    pub publish_gap_max: Duration,
    /// Special records.
    pub shares: Shares,
    /// Possible faults.
    pub faults: Vec<Fault>,
    /// Longest time between two faults.
    pub fault_gap_max: Duration,
    /// How long faults happen.
    pub trouble: Duration,
}

impl Options {
    /// A quiet world for scenarios: nothing happens but what the story says.
    pub fn calm() -> Self {
        Self {
            seed: 1,
            shape: Shape::Alone,
            work_queue: false,
            adds_markers: false,
            window: Duration::from_millis(100),
            source_max: None,
            latency: Duration::from_millis(40),
            jitter: Duration::from_millis(5),
            rate: 1_000_000,
            batch_len_max: 2000,
            batch_records_max: 64,
            credit_window: 20_000,
            decoded_max: 10_000,
            run_records_max: 500,
            run_len_max: 100_000,
            filler_max: 40,
            publish_gap_max: Duration::from_millis(20),
            shares: Shares::default(),
            faults: Vec::new(),
            fault_gap_max: Duration::from_secs(1),
            trouble: Duration::ZERO,
        }
    }

    /// A world that a seed fixes.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let shape = pick(
            rng,
            &[
                Shape::Alone,
                Shape::Alone,
                Shape::SharedTarget,
                Shape::BothWays,
                Shape::Mirrored,
            ],
        );
        let sole = matches!(shape, Shape::Alone | Shape::BothWays);
        let work_queue = shape == Shape::Alone && rng.random_ratio(1, 4);
        let faults = Fault::ALL
            .into_iter()
            .filter(|_| rng.random_ratio(2, 5))
            .collect();
        let mut options = Self {
            seed,
            shape,
            work_queue,
            adds_markers: false,
            window: Duration::from_millis(pick(rng, &[1, 100, 2000])),
            source_max: rng.random_ratio(1, 6).then(|| rng.random_range(20..200)),
            latency: Duration::from_micros(rng.random_range(50..120_000)),
            jitter: Duration::from_micros(rng.random_range(0..80_000)),
            rate: pick(rng, &[20_000, 200_000, 10_000_000]),
            batch_len_max: pick(rng, &[1, 300, 4000, 60_000]),
            batch_records_max: pick(rng, &[1, 7, 100, 5000]),
            credit_window: pick(rng, &[400, 5000, 200_000]),
            decoded_max: pick(rng, &[1, 3000, 100_000]),
            run_records_max: pick(rng, &[1, 10, 500]),
            run_len_max: pick(rng, &[1, 1000, 100_000]),
            filler_max: pick(rng, &[0, 60, 1500]),
            publish_gap_max: Duration::from_millis(pick(rng, &[10, 40, 300])),
            shares: draw_shares(rng),
            faults,
            fault_gap_max: Duration::from_millis(pick(rng, &[300, 1500, 5000])),
            trouble: Duration::from_secs(rng.random_range(5..25)),
        };
        options.leave_out_the_impossible();
        // Drawn last, and not one of all, so that older seeds are still the same worlds.
        if sole && !work_queue && rng.random_ratio(1, 4) {
            // What a run covered before the loss was noticed, only the bridge knows until that is durable, and
            // its store until the hole is filled.
            let forgets = |fault: &Fault| matches!(fault, Fault::BridgeCrash | Fault::StoreDeleted);
            options.faults.retain(|fault| !forgets(fault));
            options.faults.push(Fault::TargetRolledBack);
        }
        options.remember_a_run();
        options
    }

    /// A target that goes back in the middle of a run keeps the run's first records, and takes its last over the hole.
    /// Nothing tells which these are, so the whole run comes again, and what keeps its first records from standing twice is
    /// the duplicate window: no shorter here than the default of a target that a route creates.
    fn remember_a_run(&mut self) {
        if self.faults.contains(&Fault::TargetRolledBack) {
            self.window = self.window.max(Duration::from_secs(2));
        }
    }

    /// What nobody can promise. A work queue shows nothing of what was consumed: with the store, the
    /// target's end or the source's records gone, nothing proves where it stands. A target that others
    /// write too proves it only by our own records: they must neither be removed (limits, purges) nor
    /// be put back behind the back of a bridge that is connected.
    fn leave_out_the_impossible(&mut self) {
        use Fault as F;
        let impossible: &[Fault] = if self.work_queue {
            &[
                F::StoreDeleted,
                F::PowerLost,
                F::Purge,
                F::SourceRecreated,
                F::SourceRolledBack,
                F::TargetRecreated,
            ]
        } else if self.shape == Shape::Mirrored {
            &[F::Purge, F::SourceRolledBack]
        } else {
            &[]
        };
        self.faults.retain(|fault| !impossible.contains(fault));
        if self.work_queue || self.shape == Shape::Mirrored {
            self.source_max = None;
        }
    }
}

fn draw_shares(rng: &mut StdRng) -> Shares {
    let mut share = |max: u32| {
        if rng.random_ratio(1, 2) {
            0
        } else {
            rng.random_range(1..=max)
        }
    };
    Shares {
        filtered: share(40),
        denied: share(30),
        skewed: share(10),
        poison: share(5),
        unsendable: share(5),
        mortal: share(10),
    }
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}
