//! The thread that lets datagrams leave: every link of a host under its rate, and all under the host's.
//!
//! quinn's tasks push what they made and return; one thread with nothing else to do sleeps until the
//! [`Shaper`] says that the next packet may leave, and sends it. A task of the runtime could not keep the
//! time: its timers tick once in a millisecond, in which 100 Mbit/s pass eight packets, and it waits behind other
//! tasks. Nothing ever spins: without packets the thread waits for one, and a task that finds no room is woken
//! when half of its room is free again.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use causeway_proto::rate::{FlowKey, LinkKey, Shaper, Step};
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

use super::rate::{DeclaredRate, Pace, headers};

/// Packets sent before the lock is taken again.
const BATCH: usize = 32;
/// The thread's niceness, where root or CAP_SYS_NICE allow it.
const NICE: i32 = -10;
/// How long a socket whose kernel buffer is full is left alone.
const FULL_WAIT: Duration = Duration::from_millis(1);
/// Largest IP packet of a link that declares none: what quinn finds by itself, with headers.
const PACKET_MAX: u64 = 1480;

/// A socket: the thread sends, and the runtime receives.
#[derive(Debug)]
pub(super) struct Wire {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Wire {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Arc::new(Self { socket, state }))
    }

    /// What the system can do for this socket.
    pub(super) fn state(&self) -> &UdpSocketState {
        &self.state
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Datagrams that have arrived.
    pub(super) fn recv(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), bufs, meta)
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[derive(Debug)]
pub(super) struct Packet {
    wire: Arc<Wire>,
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    source: Option<IpAddr>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Flow {
    pace: Arc<Pace>,
    wire: Arc<Wire>,
    destination: Option<SocketAddr>,
    is_known: bool,
    /// What it pushed before its link was known.
    unknown_bytes: u64,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct State {
    shaper: Shaper<Packet>,
    host: DeclaredRate,
    /// Flows whose link is not known yet: handshakes. Under the host's rate alone.
    strangers: LinkKey,
    links: Vec<(DeclaredRate, LinkKey)>,
    flows: HashMap<FlowKey, Flow>,
    is_idle: bool,
    is_over: bool,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
    counts: Counts,
}

/// What the shaping did so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// How often a connection asked whether it may send.
    pub polls: AtomicU64,
    /// How often the thread looked for something to send.
    pub turns: AtomicU64,
    /// Packets that left.
    pub packets: AtomicU64,
    /// Bytes that left, headers included.
    pub bytes: AtomicU64,
    /// Packets of the endpoint itself (version negotiation, refusals, resets) for which there was no room.
    pub replies_dropped: AtomicU64,
}

/// All that this host sends. Clones are the same; the thread begins with the first socket and ends with the
/// last clone.
#[derive(Debug, Clone, Default)]
pub struct Shaping(Arc<Owner>);

#[derive(Debug, Default)]
struct Owner {
    host: DeclaredRate,
    shared: OnceLock<Arc<Shared>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.get() {
            shared.lock().is_over = true;
            shared.changed.notify_one();
        }
    }
}

impl Shaping {
    /// All links together never exceed `host`.
    pub fn new(host: DeclaredRate) -> Self {
        Self(Arc::new(Owner {
            host,
            shared: OnceLock::new(),
        }))
    }

    /// What it did so far.
    pub fn counts(&self) -> &Counts {
        &self.shared().counts
    }

    fn shared(&self) -> &Arc<Shared> {
        self.0.shared.get_or_init(|| {
            let mut shaper = Shaper::new(self.0.host.get(), Duration::ZERO);
            let strangers = shaper.add_link(Duration::ZERO, None, PACKET_MAX);
            let shared = Arc::new(Shared {
                began: Instant::now(),
                state: Mutex::new(State {
                    shaper,
                    host: self.0.host.clone(),
                    strangers,
                    links: Vec::new(),
                    flows: HashMap::new(),
                    is_idle: false,
                    is_over: false,
                }),
                changed: Condvar::new(),
                counts: Counts::default(),
            });
            let thread = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("shaper".into())
                .spawn(move || thread.run())
                .expect("a process that cannot start a thread cannot go on");
            shared
        })
    }

    /// A connection begins, or a socket's own replies.
    pub(super) fn add_flow(&self, wire: &Arc<Wire>, pace: Arc<Pace>) -> FlowHandle {
        let shared = Arc::clone(self.shared());
        let now = shared.began.elapsed();
        let mut state = shared.lock();
        let link = state.strangers;
        let key = state.shaper.add_flow(now, link);
        let flow = Flow {
            pace,
            wire: Arc::clone(wire),
            destination: None,
            is_known: false,
            unknown_bytes: 0,
            waker: None,
        };
        state.flows.insert(key, flow);
        drop(state);
        FlowHandle {
            shared,
            key,
            _owner: self.clone(),
        }
    }
}

/// One flow of the thread; ends when dropped.
#[derive(Debug)]
pub(super) struct FlowHandle {
    shared: Arc<Shared>,
    key: FlowKey,
    _owner: Shaping,
}

impl Drop for FlowHandle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.flows.remove(&self.key);
        state.shaper.remove_flow(self.key);
    }
}

impl FlowHandle {
    /// Whether the flow may push. If not, `waker` is woken when it may.
    pub(super) fn poll_room(&self, waker: &Waker) -> bool {
        self.shared.counts.polls.fetch_add(1, Ordering::Relaxed);
        let mut state = self.shared.lock();
        if state.shaper.has_room(self.key) {
            return true;
        }
        if let Some(flow) = state.flows.get_mut(&self.key) {
            flow.waker = Some(waker.clone());
        }
        false
    }

    pub(super) fn key(&self) -> FlowKey {
        self.key
    }

    /// Datagrams of the flow.
    pub(super) fn push(&self, transmit: &Transmit<'_>) {
        let mut state = self.shared.lock();
        state.push(&self.shared, self.key, transmit);
    }

    /// A datagram that belongs to no connection of ours: counted with the connection to that address, if
    /// there is one, else with this flow. There is no one to wait for room, so without it is dropped.
    pub(super) fn reply(&self, transmit: &Transmit<'_>) {
        let mut state = self.shared.lock();
        let of_peer = state
            .flows
            .iter()
            .find(|(_, flow)| flow.destination == Some(transmit.destination));
        let key = of_peer.map_or(self.key, |(key, _)| *key);
        if state.shaper.has_room(key) {
            state.push(&self.shared, key, transmit);
        } else {
            self.shared
                .counts
                .replies_dropped
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Datagrams that quinn may make in one go, so that none of this socket's flows decides too early.
    pub(super) fn segments(&self, wire: &Arc<Wire>) -> usize {
        let state = self.shared.lock();
        let depths = state
            .flows
            .iter()
            .filter(|(key, flow)| **key != self.key && Arc::ptr_eq(&flow.wire, wire))
            .map(|(key, _)| state.shaper.depth(*key));
        let least = depths.min().unwrap_or(1);
        usize::try_from(least).unwrap_or(usize::MAX).max(1)
    }
}

impl State {
    fn push(&mut self, shared: &Shared, key: FlowKey, transmit: &Transmit<'_>) {
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        flow.destination = Some(transmit.destination);
        let wire = Arc::clone(&flow.wire);
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        flow.pace.count_sent(transmit);
        let known = flow.is_known;
        let mut is_first = false;
        let mut total = 0;
        for bytes in transmit.contents.chunks(size.max(1)) {
            let packet = Packet {
                wire: Arc::clone(&wire),
                destination: transmit.destination,
                ecn: transmit.ecn,
                source: transmit.src_ip,
                bytes: bytes.to_vec(),
            };
            let len = bytes.len() as u64 + headers(transmit.destination);
            total += len;
            is_first |= self.shaper.push(key, len, packet);
        }
        if !known && let Some(flow) = self.flows.get_mut(&key) {
            flow.unknown_bytes += total;
        }
        if is_first || self.is_idle {
            shared.changed.notify_one();
        }
    }

    /// Takes over what controllers, handshakes and operators have changed.
    fn refresh(&mut self, now: Duration) {
        self.shaper.set_host_rate(now, self.host.get());
        for (rate, link) in &self.links {
            self.shaper.set_link_rate(now, *link, rate.get());
        }
        for (key, flow) in &mut self.flows {
            if !flow.is_known
                && let Some(rate) = flow.pace.link()
            {
                flow.is_known = true;
                let found = self.links.iter().find(|(other, _)| other.is(rate));
                let link = found.map(|(_, link)| *link).unwrap_or_else(|| {
                    let link = self.shaper.add_link(now, rate.get(), PACKET_MAX);
                    self.links.push((rate.clone(), link));
                    link
                });
                self.shaper.move_flow(*key, link);
                self.shaper.charge(now, link, flow.unknown_bytes);
            }
            self.shaper.set_pace(now, *key, flow.pace.get());
        }
    }

    fn wake(&mut self, woken: &mut Vec<Waker>) {
        for (key, flow) in &mut self.flows {
            if flow.waker.is_some() && self.shaper.has_room(*key) {
                woken.extend(flow.waker.take());
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // The kernel may wake a sleeper 50 us late to save power; at 100 Mbit/s that is half a packet.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
        // What it oversleeps is rate lost, and it needs little: let it go first where we may say so.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        let mut due = Vec::with_capacity(BATCH);
        let mut woken = Vec::new();
        let mut state = self.lock();
        while !state.is_over {
            self.counts.turns.fetch_add(1, Ordering::Relaxed);
            let now = self.began.elapsed();
            state.refresh(now);
            let wait = loop {
                match state.shaper.poll(now) {
                    Step::Send(_, packet) => due.push(packet),
                    Step::Wait(until) => break Some(until.saturating_sub(now)),
                    Step::Idle => break None,
                }
                if due.len() == BATCH {
                    break Some(Duration::ZERO);
                }
            };
            state.wake(&mut woken);
            if !due.is_empty() || !woken.is_empty() {
                drop(state);
                self.send(&mut due);
                woken.drain(..).for_each(Waker::wake);
                state = self.lock();
                continue;
            }
            state.is_idle = wait.is_none();
            state = match wait {
                Some(wait) => match self.changed.wait_timeout(state, wait) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
            state.is_idle = false;
        }
    }

    /// Sends what is due; neighbours of one size to one address go in one system call.
    fn send(&self, due: &mut Vec<Packet>) {
        let mut joined = Vec::new();
        let mut packets = due.drain(..).peekable();
        while let Some(first) = packets.next() {
            let size = first.bytes.len();
            let segments_max = first.wire.state.max_gso_segments();
            joined.clear();
            joined.extend_from_slice(&first.bytes);
            let mut count = 1;
            while count < segments_max
                && joined.len() % size == 0
                && joined.len() + size <= u16::MAX as usize - 100
                && let Some(next) = packets.next_if(|next| next.follows(&first))
            {
                joined.extend_from_slice(&next.bytes);
                count += 1;
            }
            let transmit = Transmit {
                destination: first.destination,
                ecn: first.ecn,
                contents: &joined,
                segment_size: (count > 1).then_some(size),
                src_ip: first.source,
            };
            self.send_one(&first.wire, &transmit);
            let bytes = joined.len() as u64 + count as u64 * headers(first.destination);
            self.counts
                .packets
                .fetch_add(count as u64, Ordering::Relaxed);
            self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn send_one(&self, wire: &Wire, transmit: &Transmit<'_>) {
        let full = |why: &io::Error| why.kind() == io::ErrorKind::WouldBlock;
        while let Err(why) = wire.state.send((&wire.socket).into(), transmit)
            && full(&why)
        {
            std::thread::park_timeout(FULL_WAIT);
        }
    }
}

impl Packet {
    /// Whether it may leave in one system call with the one before: like it, and no longer.
    fn follows(&self, first: &Self) -> bool {
        Arc::ptr_eq(&self.wire, &first.wire)
            && self.destination == first.destination
            && self.ecn == first.ecn
            && self.source == first.source
            && self.bytes.len() <= first.bytes.len()
    }
}
