//! The emulated WAN: a UDP relay in user space, so that no root and no kernel module are needed.
//!
//! It stands between the sidecar that dials and the one that listens, as a router would: every client address gets
//! a socket of its own towards the target. What happens to packets is decided by [`wan::Path`](crate::wan::Path) in
//! virtual time; here are only the sockets and the clock. It runs on a thread of its own, since a delay is only as
//! accurate as the thread that keeps it is free; tokio's timer makes packets up to a millisecond late.

mod driver;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;

use tokio::sync::watch;

use self::driver::{Driver, prepare};
use crate::wan::{PathCounters, Profile};

/// What IPv4 and UDP add to each datagram on a real wire; counted, and taking its share of the rate.
pub const IP_UDP_HEADER_BYTES: usize = 28;

/// What lies between the two sidecars.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Where the dialling side sends to; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the listening side is.
    pub target: SocketAddr,
    /// Decides which packets are lost.
    pub seed: u64,
    /// From the dialling side to the listening one.
    pub forward: Profile,
    /// From the listening side to the dialling one.
    pub back: Profile,
}

/// The counts of both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// From the dialling side to the listening one.
    pub forward: PathCounters,
    /// From the listening side to the dialling one.
    pub back: PathCounters,
}

impl RelayCounters {
    /// All bytes given to the link, both directions, headers included.
    pub fn wire_bytes(&self) -> u64 {
        self.forward.entered_bytes + self.back.entered_bytes
    }
}

/// A running relay. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    /// Whether the link is cut; closing the channel ends the thread.
    is_cut: Option<watch::Sender<bool>>,
    counters: watch::Receiver<RelayCounters>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Binds the socket and starts the thread.
    ///
    /// # Errors
    /// The address is taken, or the system refuses a thread.
    pub fn start(options: RelayOptions) -> io::Result<Self> {
        let socket = UdpSocket::bind(options.listen)?;
        let address = socket.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (is_cut, cut_changes) = watch::channel(false);
        let (counted, counters) = watch::channel(RelayCounters::default());
        let listen = {
            let _inside = runtime.enter();
            prepare(socket)?
        };
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                runtime.block_on(Driver::new(listen, options, counted).run(cut_changes));
            })?;
        Ok(Self {
            address,
            is_cut: Some(is_cut),
            counters,
            thread: Some(thread),
        })
    }

    /// Where the dialling side sends to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the link: nothing passes, in either direction, until it is healed.
    pub fn cut(&self) {
        self.set_cut(true);
    }

    /// Heals the link.
    pub fn heal(&self) {
        self.set_cut(false);
    }

    /// The counts so far.
    pub fn counters(&self) -> RelayCounters {
        *self.counters.borrow()
    }

    /// Tells the counts, now and later.
    pub fn watch_counters(&self) -> watch::Receiver<RelayCounters> {
        self.counters.clone()
    }

    fn set_cut(&self, is_cut: bool) {
        if let Some(sender) = &self.is_cut {
            sender.send_replace(is_cut);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_cut = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic has been reported on stderr
        }
    }
}
