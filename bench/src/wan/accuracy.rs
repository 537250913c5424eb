//! `wan-accuracy`: does the emulated link do what its profile says, on this machine, now?
//!
//! The model itself is proven in virtual time by its unit tests. Here datagrams are sent between two hosts, and what
//! their sockets see is compared with the profile: the round trip of an idle link, rate and queue of an
//! overloaded one, and the loss against what the model counted, packet by packet, since nothing else may lose any.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway::wan::{Link, PathCounters, Profile};
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::emulator::Emulator;
use super::world::{ADDRESSES, World};

const PINGS: usize = 101;
const PING_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_millis(200);
const PING_BYTES: usize = 36;
const HEADERS: usize = 28;
/// IP packets of 1,500 bytes.
const DATAGRAM_BYTES: usize = 1_472;
const TICK: Duration = Duration::from_millis(1);
/// Offered over what the link carries, so that the queue is full.
const OVERLOAD: f64 = 1.2;
const FLOOD_SECONDS: f64 = 4.0;
/// A slow link needs longer until its packets say something about its rate.
const FLOOD_PACKETS_MIN: f64 = 100.0;
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

/// What was asked of a link, and what it did.
#[derive(Debug, Serialize)]
pub(crate) struct Accuracy {
    pub link: &'static str,
    pub round_trip_ms: Pair,
    /// The hosts' own part of a round trip, already taken off.
    pub own_ms: f64,
    pub rate_mbps: Pair,
    pub queue_ms: Pair,
    pub loss_percent: Pair,
    /// Sent, and neither received nor counted as dropped by the model.
    pub unexplained: i64,
    pub packets_a_second: f64,
    pub cpu_share: f64,
    pub late_mean_us: f64,
    pub late_max_us: f64,
    has_jitter: bool,
}

/// One property, as the profile says and as measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Pair {
    pub stated: f64,
    pub measured: f64,
}

impl Pair {
    fn is_near(self) -> bool {
        (self.measured - self.stated).abs() <= 0.01 * self.stated
    }
}

impl Accuracy {
    /// Whether round trip, rate and queue are within 1 % and no packet is missing. A link with jitter is held to its
    /// rate alone: the mean of a jitter over some seconds is no figure to hold to 1 %.
    pub(crate) fn holds(&self) -> bool {
        // A queue holds whole packets, and the next comes some time after one has left.
        let packet_ms = 12.0 / self.rate_mbps.stated;
        let queue_off = (self.queue_ms.measured - self.queue_ms.stated).abs();
        let is_queue_near = queue_off <= 0.01 * self.queue_ms.stated + packet_ms;
        self.rate_mbps.is_near()
            && self.unexplained == 0
            && (self.has_jitter || (self.round_trip_ms.is_near() && is_queue_near))
    }
}

/// Measures one link.
pub(crate) async fn measure(world: &World, link: Link) -> Result<Accuracy> {
    let address = world.eu.run(echo).await?;
    // The hosts' own part, on a link that adds nothing: sockets, and threads that must wake up.
    world.emulator.change(Profile::default());
    let patience = PATIENCE + link.round_trip * 2 + link.jitter * 2;
    let own = world.us.run(move || ping(address, patience)).await?;
    world.emulator.change(link.profile());
    let round_trip = world.us.run(move || ping(address, patience)).await?;
    let flood = flood(world, link).await?;
    let profile = link.profile();
    let wire = |bytes: usize| bytes as f64 * 8.0 / link.rate_bps as f64;
    let pair = |stated, measured| Pair { stated, measured };
    let half_jitter = link.jitter.as_secs_f64() / 2.0;
    let one_way = profile.delay.as_secs_f64() + half_jitter;
    let forward = flood.forward;
    Ok(Accuracy {
        link: link.name,
        round_trip_ms: pair(
            (2.0 * (one_way + wire(PING_BYTES + HEADERS))) * 1e3,
            round_trip.saturating_sub(own).as_secs_f64() * 1e3,
        ),
        own_ms: own.as_secs_f64() * 1e3,
        rate_mbps: pair(
            link.rate_bps as f64 / 1e6,
            (forward.passed_bytes as f64 * 8.0) / flood.received.span.as_secs_f64() / 1e6,
        ),
        queue_ms: pair(
            link.queue_bytes() as f64 * 8e3 / link.rate_bps as f64,
            (flood.received.delay.as_secs_f64() - one_way) * 1e3,
        ),
        loss_percent: pair(
            link.loss * 100.0,
            forward.lost_packets as f64 * 100.0 / forward.passed_packets as f64,
        ),
        unexplained: flood.sent as i64
            - (flood.received.count + forward.lost_packets + forward.overflowed_packets) as i64,
        packets_a_second: flood.sent as f64 / flood.elapsed.as_secs_f64(),
        cpu_share: flood.cpu.as_secs_f64() / flood.elapsed.as_secs_f64(),
        late_mean_us: flood.late_mean.as_secs_f64() * 1e6,
        late_max_us: flood.late_max.as_secs_f64() * 1e6,
        has_jitter: !link.jitter.is_zero(),
    })
}

async fn bind(address: &str) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0)).await?;
    // Beyond the system's bound: a receiver that is not scheduled for some time must not look like a lossy link.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)?;
    Ok(socket)
}

/// Answers each datagram for as long as the host lives.
async fn echo() -> Result<SocketAddr> {
    let socket = bind(ADDRESSES[1]).await?;
    let address = socket.local_addr()?;
    tokio::task::spawn_local(async move {
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    Ok(address)
}

/// The median round trip of small datagrams.
async fn ping(address: SocketAddr, patience: Duration) -> Result<Duration> {
    let socket = bind(ADDRESSES[0]).await?;
    let (mut times, mut buffer) = (Vec::new(), [0; PING_BYTES]);
    let mut ticks = interval(PING_EVERY);
    for number in 0..PINGS as u64 {
        ticks.tick().await;
        let began = Instant::now();
        let mut payload = [0; PING_BYTES];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        socket.send_to(&payload, address).await?;
        let answer = timeout(patience, async {
            loop {
                socket.recv(&mut buffer).await?;
                if buffer[..8] == payload[..8] {
                    return std::io::Result::Ok(began.elapsed());
                }
            }
        });
        // Nothing came: it was lost, as some are.
        if let Ok(time) = answer.await {
            times.push(time?);
        }
    }
    ensure!(
        times.len() > PINGS / 2,
        "{} of {PINGS} pings came back",
        times.len()
    );
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

struct Flood {
    sent: u64,
    received: Received,
    forward: PathCounters,
    elapsed: Duration,
    cpu: Duration,
    late_mean: Duration,
    late_max: Duration,
}

/// What the receiver of a flood saw.
#[derive(Debug)]
struct Received {
    count: u64,
    /// From the first to the last packet, and one packet's time more.
    span: Duration,
    /// The delay that nine of ten packets do not exceed: the full queue, without the hiccups of this machine.
    delay: Duration,
}

async fn flood(world: &World, link: Link) -> Result<Flood> {
    let base = Instant::now();
    let queue = Duration::from_secs_f64(link.queue_bytes() as f64 * 8.0 / link.rate_bps as f64);
    let quiet = link.round_trip + link.jitter + queue + Duration::from_secs(1);
    let (address, received) = world.eu.run(move || receive(base, quiet)).await?;
    let packet_seconds = 1_500.0 * 8.0 / link.rate_bps as f64;
    let seconds = FLOOD_SECONDS.max(FLOOD_PACKETS_MIN * packet_seconds);
    let before = world.emulator.snapshot();
    let sent = world
        .us
        .run(move || send(base, address, packet_seconds / OVERLOAD, seconds))
        .await?;
    let elapsed = base.elapsed();
    let received = received.await.context("the receiver has gone")??;
    let after = world.emulator.snapshot();
    let drops = world.us.run(|| async { Emulator::kernel_drops() }).await?;
    ensure!(
        drops == 0,
        "the kernel dropped {drops} packets before the emulator saw them"
    );
    let count = (after.forward.delivered_packets - before.forward.delivered_packets).max(1);
    Ok(Flood {
        sent,
        received,
        forward: after.forward.since(&before.forward),
        elapsed,
        cpu: after.cpu - before.cpu,
        late_mean: (after.late - before.late).div_f64(count as f64),
        late_max: after.late_max,
    })
}

type Receiver = oneshot::Receiver<Result<Received>>;

/// Receives until nothing comes any more.
async fn receive(base: Instant, quiet: Duration) -> Result<(SocketAddr, Receiver)> {
    let socket = bind(ADDRESSES[1]).await?;
    let address = socket.local_addr()?;
    let (done, result) = oneshot::channel();
    tokio::task::spawn_local(async move {
        let _ = done.send(receive_on(socket, base, quiet).await); // nobody waits any more
    });
    Ok((address, result))
}

async fn receive_on(socket: UdpSocket, base: Instant, quiet: Duration) -> Result<Received> {
    let mut buffer = [0; DATAGRAM_BYTES];
    let mut delays = Vec::new();
    let mut first_and_last: Option<(Duration, Duration)> = None;
    while let Ok(length) = timeout(quiet, socket.recv(&mut buffer)).await {
        let now = base.elapsed();
        let stamp = buffer[..length?]
            .first_chunk()
            .context("a short datagram")?;
        delays.push(now.saturating_sub(Duration::from_nanos(u64::from_le_bytes(*stamp))));
        first_and_last = Some((first_and_last.map_or(now, |(first, _)| first), now));
    }
    let (first, last) = first_and_last.context("nothing came through")?;
    let count = delays.len();
    let span = (last - first).mul_f64(count as f64 / (count - 1).max(1) as f64);
    delays.sort_unstable();
    let delay = delays[count * 9 / 10];
    Ok(Received {
        count: count as u64,
        span,
        delay,
    })
}

/// Sends a datagram every so many seconds, in runs a tick; tells how many.
async fn send(base: Instant, to: SocketAddr, every: f64, seconds: f64) -> Result<u64> {
    let socket = bind(ADDRESSES[0]).await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (began, mut sent) = (Instant::now(), 0);
    let mut datagram = [0; DATAGRAM_BYTES];
    loop {
        ticks.tick().await;
        let elapsed = began.elapsed().as_secs_f64();
        if elapsed > seconds {
            return Ok(sent);
        }
        while (sent as f64) * every < elapsed {
            let stamp = u64::try_from(base.elapsed().as_nanos())?;
            datagram[..8].copy_from_slice(&stamp.to_le_bytes());
            socket.send_to(&datagram, to).await?;
            sent += 1;
        }
    }
}

/// The table, and whether all of it holds.
pub(crate) fn table(rows: &[Accuracy]) -> String {
    let mut text = String::from(
        "| Link | round trip, ms (hosts' own part taken off) | rate, Mbit/s | full queue, ms | loss, % | packets/s offered | missing | emulator | late, mean / max us | within 1 % |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let pair = |pair: Pair| format!("{:.3} of {:.3}", pair.measured, pair.stated);
    for row in rows {
        text.push_str(&format!(
            "| {} | {} ({:.3}) | {} | {} | {} | {:.0} | {} | {:.0} % of a core | {:.0} / {:.0} | {} |\n",
            row.link,
            pair(row.round_trip_ms),
            row.own_ms,
            pair(row.rate_mbps),
            pair(row.queue_ms),
            pair(row.loss_percent),
            row.packets_a_second,
            row.unexplained,
            row.cpu_share * 100.0,
            row.late_mean_us,
            row.late_max_us,
            if row.holds() { "yes" } else { "NO" },
        ));
    }
    text
}

/// All links of these names, one after the other.
pub(crate) async fn measure_all(world: &World, links: &[Link]) -> Result<Vec<Accuracy>> {
    let mut rows = Vec::new();
    for link in links {
        eprintln!("{} ...", link.name);
        rows.push(measure(world, *link).await?);
    }
    Ok(rows)
}
