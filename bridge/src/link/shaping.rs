//! The thread that lets datagrams leave: every link of a host under its rate, and all under the host's.
//!
//! quinn's tasks push what they made and return; one thread with nothing else to do sleeps until the
//! [`Shaper`](causeway_proto::rate::Shaper) says that the next packet may leave, and sends it. A task of the runtime
//! could not keep the time: its timers tick once in a millisecond, in which 100 Mbit/s pass eight packets, and it
//! waits behind other tasks. Nothing ever spins: without packets the thread waits for one, and a task that finds no
//! room is woken when half of its room is free again.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use causeway_proto::rate::FlowKey;
use quinn::udp::Transmit;

use self::thread::{Shared, count};
pub(super) use self::wire::Wire;
use super::rate::{DeclaredRate, Pace};

mod flows;
mod thread;
mod wire;

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
            let shared = Arc::new(Shared::new(self.0.host.clone()));
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
        pace.wake_with(Waker::from(Arc::clone(&shared)));
        let key = shared.lock().flows.add(shared.now(), wire, pace);
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
        self.shared.lock().flows.remove(self.key);
    }
}

impl FlowHandle {
    /// Whether the flow may push. If not, `waker` is woken when it may.
    pub(super) fn poll_room(&self, waker: &Waker) -> bool {
        count(&self.shared.counts.polls, 1);
        let mut state = self.shared.lock();
        let has_room = state.flows.has_room(self.key);
        if !has_room {
            state.flows.wake_with(self.key, waker);
        }
        has_room
    }

    pub(super) fn key(&self) -> FlowKey {
        self.key
    }

    /// Datagrams of the flow.
    pub(super) fn push(&self, transmit: &Transmit<'_>) {
        let mut state = self.shared.lock();
        self.shared.push(&mut state, self.key, transmit);
    }

    /// A datagram that belongs to no connection of ours: counted with the connection to that address, if
    /// there is one, else with this flow. There is no one to wait for room, so without it is dropped.
    pub(super) fn reply(&self, transmit: &Transmit<'_>) {
        let mut state = self.shared.lock();
        let of_peer = state.flows.of_peer(transmit.destination);
        let key = of_peer.unwrap_or(self.key);
        if state.flows.has_room(key) {
            self.shared.push(&mut state, key, transmit);
        } else {
            count(&self.shared.counts.replies_dropped, 1);
        }
    }

    /// Datagrams that quinn may make in one go, so that none of this socket's flows decides too early.
    pub(super) fn segments(&self, wire: &Arc<Wire>) -> usize {
        let depth = self.shared.lock().flows.depth(wire, self.key);
        usize::try_from(depth).unwrap_or(usize::MAX).max(1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_that_rises_is_heard_by_who_sleeps_for_the_old_one() {
        let [from, to] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        to.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let shaping = Shaping::default();
        let pace = Pace::new(None, to.local_addr().unwrap());
        // At one bit a second two packets leave from the bucket, and the third three hours later.
        pace.set(1, 1);
        let flow = shaping.add_flow(&Wire::new(from).unwrap(), Arc::clone(&pace));
        let mut buffer = [0; 2000];
        let push = |number: u8| {
            flow.push(&Transmit {
                destination: to.local_addr().unwrap(),
                ecn: None,
                contents: &[number; 1400],
                segment_size: None,
                src_ip: None,
            });
        };
        for number in 0..2 {
            push(number);
            to.recv(&mut buffer).unwrap();
        }
        // The thread gives up its lock only to send and to sleep.
        let until = |is_idle: bool| {
            while flow.shared.lock().is_idle != is_idle {
                std::thread::yield_now();
            }
        };
        until(true);
        push(2);
        until(false);
        pace.set(1_000_000, 1_000_000);
        assert_eq!(to.recv(&mut buffer).unwrap(), 1400);
        assert_eq!(buffer[0], 2);
    }
}
