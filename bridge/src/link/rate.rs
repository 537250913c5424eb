//! Between quinn and the decisions of [`causeway_proto::rate`]: what the operator declared, what one
//! connection may send, and the controller that says so.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use causeway_proto::rate::{Control, HEADERS_V4, HEADERS_V6, Mode, Settings};
use quinn::congestion::{Controller, ControllerFactory};
use quinn::udp::Transmit;

/// The declared rate of a link's wire, and how it treats its path; changeable while connections run.
/// Clones are the same rate.
#[derive(Debug, Clone, Default)]
pub struct DeclaredRate(Arc<Declared>);

#[derive(Debug, Default)]
struct Declared {
    /// Bits a second; 0 stands for undeclared.
    rate: AtomicU64,
    mode: AtomicU8,
    is_held: AtomicBool,
    /// Live batches are sent once, whatever is lost.
    is_without_copies: AtomicBool,
    /// What the newest connection's controller says; 0 before there was one.
    in_use: AtomicU64,
    sent: Sent,
}

/// What left on the wire, IP and UDP headers included.
#[derive(Debug, Default)]
struct Sent {
    bytes: AtomicU64,
    packets: AtomicU64,
}

impl Sent {
    fn add(&self, bytes: u64, packets: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.packets.fetch_add(packets, Ordering::Relaxed);
    }
}

impl DeclaredRate {
    /// A rate in bits a second, or none.
    pub fn new(bits_per_second: Option<u64>) -> Self {
        let rate = Self::default();
        rate.set(bits_per_second);
        rate
    }

    /// Changes the rate for connections that already run.
    pub fn set(&self, bits_per_second: Option<u64>) {
        self.0
            .rate
            .store(bits_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    /// Changes how the link treats its path, for connections that already run.
    pub fn set_mode(&self, mode: Mode) {
        self.0.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Lets no batch leave from now on, or lets them leave again. Acknowledgements and pulse go on.
    pub fn hold(&self, is_held: bool) {
        self.0.is_held.store(is_held, Ordering::Relaxed);
    }

    /// Whether no batch may leave.
    pub fn is_held(&self) -> bool {
        self.0.is_held.load(Ordering::Relaxed)
    }

    /// Lets live batches be sent again before they are known to be lost, or not. They may be until this is called.
    pub fn set_copies(&self, may_copy: bool) {
        self.0.is_without_copies.store(!may_copy, Ordering::Relaxed);
    }

    /// Whether live batches may be sent more than once.
    pub fn may_copy(&self) -> bool {
        !self.0.is_without_copies.load(Ordering::Relaxed)
    }

    /// Whether both are the same link's rate.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Bits a second on the wire.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Bytes a second on the wire.
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.get().map(|bits| bits / 8)
    }

    /// Bits a second that the controller of the link's newest connection allows at the moment.
    pub fn in_use(&self) -> Option<u64> {
        Some(self.0.in_use.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Bytes that the link sent since the process began, IP and UDP headers included.
    pub fn sent_bytes(&self) -> u64 {
        self.0.sent.bytes.load(Ordering::Relaxed)
    }

    /// As if the link had sent so many bytes.
    #[cfg(test)]
    pub(crate) fn add_sent(&self, bytes: u64) {
        self.0.sent.add(bytes, 1);
    }

    /// Packets that the link sent since the process began.
    pub fn sent_packets(&self) -> u64 {
        self.0.sent.packets.load(Ordering::Relaxed)
    }

    /// How the link treats its path.
    pub fn mode(&self) -> Mode {
        [Mode::Declared, Mode::Adaptive, Mode::Scavenger]
            [usize::from(self.0.mode.load(Ordering::Relaxed)).min(2)]
    }
}

/// What one connection may send: written by its controller, read by the shaper.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bits a second now; 0 while there is no controller yet.
    rate: AtomicU64,
    /// Bits a second on average.
    mean: AtomicU64,
    /// Who sleeps by the rate.
    sleeper: OnceLock<Waker>,
    /// Bytes of IP and UDP headers on each datagram.
    headers: u64,
    /// Known from the start to the dialler, after the handshake to the listener.
    declared: OnceLock<DeclaredRate>,
    /// Sent while it was not known.
    sent: Sent,
}

impl Pace {
    /// The pace of a connection whose link is known, or will be.
    pub fn new(declared: Option<DeclaredRate>, to: SocketAddr) -> Arc<Self> {
        let pace = Self {
            headers: headers(to),
            ..Self::default()
        };
        if let Some(declared) = declared {
            pace.belongs_to(declared);
        }
        Arc::new(pace)
    }

    /// The connection turned out to be of the link with that rate. Only the first call counts.
    pub fn belongs_to(&self, declared: DeclaredRate) {
        let _ = self.declared.set(declared);
    }

    /// `sleeper` is woken when the rate has become much higher. Only the first call counts.
    pub(super) fn wake_with(&self, sleeper: Waker) {
        let _ = self.sleeper.set(sleeper);
    }

    /// Sets bits a second now, and on average.
    pub(super) fn set(&self, now: u64, mean: u64) {
        let before = self.rate.swap(now, Ordering::Relaxed);
        self.mean.store(mean, Ordering::Relaxed);
        // By less than that a sleeper oversleeps no more than it slept.
        if now / 2 >= before
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.wake_by_ref();
        }
    }

    /// Bits a second on the wire, at which packets may leave now.
    pub fn get(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Bits a second on the wire on average: the same, but for trains at the beginning.
    pub fn mean(&self) -> Option<u64> {
        Some(self.mean.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Counts what leaves, headers included, for the link as soon as it is known.
    pub(super) fn count_sent(&self, transmit: &Transmit<'_>) {
        let len = transmit.contents.len();
        let packets = len.div_ceil(transmit.segment_size.unwrap_or(len).max(1)) as u64;
        let bytes = len as u64 + packets * headers(transmit.destination);
        match self.declared.get() {
            Some(link) => {
                let before = (&self.sent.bytes, &self.sent.packets);
                let [bytes_before, packets_before] =
                    [before.0, before.1].map(|count| count.swap(0, Ordering::Relaxed));
                link.0
                    .sent
                    .add(bytes + bytes_before, packets + packets_before);
            }
            None => self.sent.add(bytes, packets),
        }
    }

    /// Whether the link lets no batch leave.
    pub fn is_held(&self) -> bool {
        self.declared.get().is_some_and(DeclaredRate::is_held)
    }

    /// Whose link it is, once that is known.
    pub(super) fn link(&self) -> Option<&DeclaredRate> {
        self.declared.get()
    }

    fn declared(&self) -> (Mode, Option<u64>) {
        self.declared
            .get()
            .map_or((Mode::Declared, None), |link| (link.mode(), link.get()))
    }
}

/// Bytes that IP and UDP add to a datagram for that address.
pub(super) fn headers(to: SocketAddr) -> u64 {
    match to {
        SocketAddr::V4(_) => HEADERS_V4,
        SocketAddr::V6(to) if to.ip().to_ipv4_mapped().is_some() => HEADERS_V4,
        SocketAddr::V6(_) => HEADERS_V6,
    }
}

/// Builds the controller of a connection, and of each path that it moves to.
#[derive(Debug, Clone)]
pub(super) struct RateFactory {
    pub(super) pace: Arc<Pace>,
    /// Expected round trip.
    pub(super) rtt: Duration,
}

impl ControllerFactory for RateFactory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let (mode, ceiling) = self.pace.declared();
        let settings = Settings {
            mode,
            ceiling,
            rtt: self.rtt,
            mtu: u64::from(mtu),
            headers: self.pace.headers,
        };
        let controller = RateController {
            control: Control::new(settings, Duration::ZERO),
            pace: Arc::clone(&self.pace),
            began: now,
        };
        controller.tell();
        Box::new(controller)
    }
}

/// quinn's events for [`Control`], and its answer for quinn and the shaper.
#[derive(Debug, Clone)]
struct RateController {
    control: Control,
    pace: Arc<Pace>,
    began: Instant,
}

impl RateController {
    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    fn tell(&self) {
        let (now, mean) = (self.control.pace(), self.control.rate());
        self.pace.set(now, mean);
        if let Some(link) = self.pace.declared.get() {
            link.0.in_use.store(mean, Ordering::Relaxed);
        }
    }
}

impl Controller for RateController {
    fn on_sent(&mut self, _: Instant, bytes: u64, _: u64) {
        let before = self.control.pace();
        self.control.handle_sent(bytes);
        if self.control.pace() != before {
            self.tell();
        }
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _: &quinn_proto::RttEstimator,
    ) {
        let (now, sent) = (self.since(now), self.since(sent));
        self.control.handle_ack(now, sent, bytes, app_limited);
    }

    fn on_end_acks(&mut self, now: Instant, _: u64, _: bool, _: Option<u64>) {
        let (mode, ceiling) = self.pace.declared();
        self.control.set(self.since(now), mode, ceiling);
        self.tell();
    }

    fn on_congestion_event(&mut self, _: Instant, sent: Instant, _: bool, lost_bytes: u64) {
        self.control.handle_loss(self.since(sent), lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.control.set_mtu(u64::from(new_mtu));
    }

    fn window(&self) -> u64 {
        self.control.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.control.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
