//! quinn's settings for a link, each with its reason.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::rate::{DeclaredRate, Pace, RateFactory};
use super::shaping::Shaping;

/// Least and most bytes that may be unacknowledged or unsent in one connection. Bounds memory. Within it
/// two and a half times what the link holds: that much is on its way, repaired, or about to leave.
pub(crate) const SEND_WINDOW_MIN: u64 = 2 << 20;
const SEND_WINDOW_MAX: u64 = 128 << 20;
/// The same where rate or round trip are not declared: 100 Mbit/s over 500 ms.
const SEND_WINDOW_UNKNOWN: u64 = 8 << 20;
/// What the peer may have in flight to us. Above all credit of the lanes, so that data never stops
/// at QUIC's limit, which control would then share; and above what the largest peer's window sends.
const RECEIVE_WINDOW: u32 = 144 << 20;
/// The round trip of a path that nobody described, for the first packets only.
const RTT_UNKNOWN: Duration = Duration::from_millis(150);
/// Steps of looking for the path's MTU. A probe leaves only when quinn has nothing else to send, so that once a backlog
/// flows none does: with steps of this size the second one, still in the handshake's wake, is that for Ethernet's 1,500 bytes.
/// What a smaller path carries is found to within a step.
const MTU_STEP: u16 = 64;
/// A connection on which nothing arrives for so long is gone. The session notices earlier.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Keeps NAT bindings and shows a dead path within seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Copies of live batches that wait to be read, or to be sent; beyond it the oldest are dropped.
const COPIES_BUFFER: usize = 256 << 10;
/// Kernel buffer wanted on each side at least, so that a busy moment of ours is not loss; 50 ms of the rate
/// where that is more.
const SOCKET_BUFFER: usize = 4 << 20;

/// What the operator says of a link's path.
#[derive(Debug, Clone, Default)]
pub struct PathHints {
    /// Declared wire rate.
    pub rate: DeclaredRate,
    /// Expected round trip: for the first packets, and for what a connection may keep.
    pub rtt: Option<Duration>,
    /// What a session before has measured; for the first packets it counts more than what is expected.
    pub measured_rtt: Option<Duration>,
    /// Size of IP payload that the path is known to carry, in bytes of UDP payload.
    pub mtu: Option<u16>,
    /// What this host sends in all; the same for every link of a process.
    pub shaping: Shaping,
}

impl PathHints {
    /// The round trip to begin with.
    pub(super) fn first_rtt(&self) -> Option<Duration> {
        self.measured_rtt.or(self.rtt)
    }
}

/// quinn's settings for one connection over that path, paced by `pace`.
pub fn transport(hints: &PathHints, pace: &Arc<Pace>) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(4096))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .send_window(send_window(hints))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(
            IdleTimeout::try_from(IDLE_TIMEOUT).expect("15 s are within QUIC's range"),
        ))
        // Without it quinn finishes a begun stream before one of a higher priority: fresh records, and the control
        // stream, would wait for a batch of the backlog. Every batch has a priority of its own, so they do not
        // take turns and finish all late.
        .send_fairness(true)
        .datagram_receive_buffer_size(Some(COPIES_BUFFER))
        .datagram_send_buffer_size(COPIES_BUFFER)
        .congestion_controller_factory(Arc::new(RateFactory {
            pace: Arc::clone(pace),
            rtt: hints.first_rtt().unwrap_or(RTT_UNKNOWN),
        }));
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(8))
        .max_ack_delay(Some(Duration::from_millis(5)))
        .reordering_threshold(VarInt::from_u32(2));
    config.ack_frequency_config(Some(acks));
    if let Some(rtt) = hints.first_rtt() {
        config.initial_rtt(rtt);
    }
    match hints.mtu {
        Some(mtu) => {
            config.initial_mtu(mtu).min_mtu(mtu);
        }
        None => {
            // Random loss looks like a black hole to the detector; look again soon.
            let mut discovery = MtuDiscoveryConfig::default();
            discovery
                .black_hole_cooldown(Duration::from_secs(10))
                .minimum_change(MTU_STEP);
            config.mtu_discovery_config(Some(discovery));
        }
    }
    Arc::new(config)
}

/// quinn's settings for a socket over whose paths datagrams of `mtu` bytes may come.
pub(super) fn endpoint(mtu: Option<u16>) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // A peer sends nothing larger than what we say that we take: what quinn says by itself fits Ethernet's 1,500 bytes.
    if let Some(mtu) = mtu.filter(|mtu| u64::from(*mtu) > config.get_max_udp_payload_size()) {
        let taken = config.max_udp_payload_size(mtu);
        debug_assert!(taken.is_ok(), "an mtu is above 1200");
    }
    config
}

/// Bytes that a connection of that path may keep until they are acknowledged.
pub(super) fn send_window(hints: &PathHints) -> u64 {
    let (Some(rate), Some(rtt)) = (hints.rate.get(), hints.rtt) else {
        return SEND_WINDOW_UNKNOWN;
    };
    let held = u128::from(rate / 8) * rtt.as_millis() / 1000;
    u64::try_from(held * 5 / 2)
        .unwrap_or(SEND_WINDOW_MAX)
        .clamp(SEND_WINDOW_MIN, SEND_WINDOW_MAX)
}

/// A UDP socket with large kernel buffers, as far as the kernel lets us. `rate` is what its
/// links declare together, in bits a second.
pub(super) fn bind(address: SocketAddr, rate: u64) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // A smaller buffer works too, only worse: the kernel's limit is the operator's choice.
    let size = SOCKET_BUFFER.max(usize::try_from(rate / 8 / 20).unwrap_or(SOCKET_BUFFER));
    let _ = socket.set_recv_buffer_size(size);
    let _ = socket.set_send_buffer_size(size);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
