//! The packet emulator: one thread between two TUN devices, one in each host's namespace.
//!
//! It sees whole IP packets, so TCP and UDP, and whatever else a host sends, meet the same link. What happens to them is
//! decided by [`Path`] in virtual time. The devices have no vnet header, so the kernel segments large sends and
//! fills in checksums before a packet comes here, as a card without offloads would ask for; a packet is
//! exactly what would be on the wire, framing below IP left out.
//!
//! A packet is given its times when the thread reads it, and is handed on when the thread wakes: how late that is, is
//! measured and told ([`Snapshot::late`]).

mod driver;

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway::wan::{Path, PathCounters, Profile};
use rustix::event::{EventfdFlags, eventfd};

use self::driver::Driver;
use super::device::{DEVICE, device};
use super::netns::Namespace;

/// What the emulator counted so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Snapshot {
    /// From the first host to the second.
    pub forward: PathCounters,
    /// From the second host to the first.
    pub back: PathCounters,
    /// CPU time of the thread, the kernel's part of receiving what it hands on included.
    pub cpu: Duration,
    /// How much after their time packets were handed on, all together.
    pub late: Duration,
    /// The latest that a packet was handed on after its time.
    pub late_max: Duration,
    /// The most bytes over `rate x t` that entered in any interval since [`Emulator::watch`], in each direction. A packet's
    /// time is that at which the emulator read it, so that packets which waited for the emulator look like a burst.
    pub burst_bytes: [f64; 2],
    /// The same if each packet came when that makes the least of it, after the emulator had last looked: what is certain.
    pub burst_certain_bytes: [f64; 2],
}

/// What the thread is told to do.
#[derive(Debug)]
enum Order {
    Change(Profile),
    Cut,
    Heal,
    Watch(u64),
}

/// A link between two namespaces. Dropping it ends the thread and removes the devices.
#[derive(Debug)]
pub(crate) struct Emulator {
    orders: Option<mpsc::Sender<Order>>,
    wake: Arc<OwnedFd>,
    snapshot: Arc<Mutex<Snapshot>>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Joins two namespaces; the addresses are those of their ends, in one network of 24 bits.
    pub(crate) fn start(
        hosts: [&Namespace; 2],
        addresses: [&str; 2],
        profile: Profile,
        seed: u64,
    ) -> Result<Self> {
        let devices = [
            device(hosts[0], addresses[0], 0)?,
            device(hosts[1], addresses[1], 1)?,
        ];
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (orders, inbox) = mpsc::channel();
        let snapshot = Arc::new(Mutex::new(Snapshot::default()));
        let paths = [Path::new(profile, seed), Path::new(profile, !seed)];
        let driver = Driver::new(
            devices,
            paths,
            inbox,
            Arc::clone(&wake),
            Arc::clone(&snapshot),
        );
        let thread = std::thread::Builder::new()
            .name("emulator".to_owned())
            .spawn(move || driver.run())?;
        Ok(Self {
            orders: Some(orders),
            wake,
            snapshot,
            thread: Some(thread),
        })
    }

    /// What was counted so far. The greatest lateness is that since the last call.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = *snapshot;
        snapshot.late_max = Duration::ZERO;
        now
    }

    /// Gives both directions other properties.
    pub(crate) fn change(&self, profile: Profile) {
        self.order(Order::Change(profile));
    }

    /// Cuts both directions; what is on its way is lost.
    pub(crate) fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Ends a cut.
    pub(crate) fn heal(&self) {
        self.order(Order::Heal);
    }

    /// From now on holds what enters against a rate, see [`Snapshot::burst_bytes`].
    pub(crate) fn watch(&self, rate_bps: u64) {
        self.order(Order::Watch(rate_bps));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order); // the thread has panicked, which was reported
        }
        self.wake();
    }

    /// Packets that the kernel dropped at the calling thread's end of the link before the emulator saw them.
    ///
    /// # Errors
    /// The calling thread is not in a namespace with an end.
    pub(crate) fn kernel_drops() -> Result<u64> {
        let table = fs::read_to_string("/proc/thread-self/net/dev")?;
        let line = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(DEVICE)?.strip_prefix(':'))
            .context("no end of the link here")?;
        // Eight columns of what was received, then bytes, packets, errs, drop of what was sent.
        let dropped = line
            .split_whitespace()
            .nth(8 + 3)
            .context("a table of devices")?;
        Ok(dropped.parse()?)
    }

    fn wake(&self) {
        // Full means that it will wake anyway.
        let _ = rustix::io::write(self.wake.as_fd(), &1_u64.to_ne_bytes());
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.orders = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic has been reported on stderr
        }
    }
}
