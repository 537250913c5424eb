//! The packet emulator: one thread between two TUN devices, one in each host's namespace.
//!
//! It sees whole IP packets, so TCP and UDP, and whatever else a host sends, meet the same link. What happens to them is
//! decided by [`Path`] in virtual time. The devices have no vnet header, so the kernel segments large sends and
//! fills in checksums before a packet comes here, as a card without offloads would ask for; a packet is
//! exactly what would be on the wire, framing below IP left out.
//!
//! A packet is given its times when the thread reads it, and is handed on when the thread wakes: how late that is, is
//! measured and told ([`Snapshot::late`]).

use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use causeway::wan::{Path, PathCounters, Profile};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::time::{ClockId, clock_gettime};
use tun_rs::SyncDevice;

use super::burst::Burst;
use super::device::{DEVICE, device};
use super::netns::Namespace;

/// Packets read from one device before the other and what is due get their turn.
const RUN_MAX: usize = 64;
/// The thread sleeps at least so long, as a card moderates its interrupts: on a fast link that costs packets some
/// microseconds and saves most of the emulator's CPU time.
const SLEEP_MIN: Duration = Duration::from_micros(60);
/// A timer of a virtual machine is late by about as much. Where a packet comes alone, after a sleep of
/// [`SPIN_AFTER`] or more, the thread wakes so much earlier and looks at the clock until it is time.
const SPIN: Duration = Duration::from_micros(100);
const SPIN_AFTER: Duration = Duration::from_millis(1);
const PACKET_BYTES_MAX: usize = 65_536;
/// Of the thread: ahead of everything that it carries packets for.
const NICENESS: i32 = -20;

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
        let driver = Driver {
            began: Instant::now(),
            devices,
            paths,
            bursts: [None; 2],
            inbox,
            wake: Arc::clone(&wake),
            snapshot: Arc::clone(&snapshot),
            late: Duration::ZERO,
            late_max: Duration::ZERO,
            is_early: false,
        };
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

/// Owns all of the emulator's state.
struct Driver {
    began: Instant,
    devices: [SyncDevice; 2],
    paths: [Path<Box<[u8]>>; 2],
    bursts: [Option<Burst>; 2],
    inbox: mpsc::Receiver<Order>,
    wake: Arc<OwnedFd>,
    snapshot: Arc<Mutex<Snapshot>>,
    late: Duration,
    late_max: Duration,
    /// The last sleep was long, and meant to end before the next packet's time.
    is_early: bool,
}

impl Driver {
    fn run(mut self) {
        // Without the right to these, the emulator is less exact, and says so by its lateness.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        // It ends with its owner, or with a device, and with that a host.
        while let Ok(ready) = self.wait() {
            for (end, is_ready) in ready.into_iter().enumerate() {
                if is_ready {
                    self.take(end, &mut buffer);
                }
                self.deliver(end);
            }
            if !self.obey() {
                return;
            }
            self.publish();
        }
    }

    fn take(&mut self, end: usize, buffer: &mut [u8]) {
        for _ in 0..RUN_MAX {
            match self.devices[end].recv(buffer) {
                Ok(length) => {
                    let packet = &buffer[..length];
                    // Neighbour discovery and the like of IPv6 would only be noise in the counts.
                    if packet.first().is_some_and(|byte| byte >> 4 == 4) {
                        let now = self.began.elapsed();
                        if let Some(burst) = &mut self.bursts[end] {
                            burst.see(now, length);
                        }
                        self.paths[end].enter(now, length, packet.into());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return, // nothing more to read; a device that is gone shows in the wait
            }
        }
    }

    fn deliver(&mut self, from: usize) {
        let now = self.began.elapsed();
        let (path, device) = (&mut self.paths[from], &self.devices[1 - from]);
        while let Some(due) = path.next_at()
            && let Some(packet) = path.leave(now)
        {
            self.late += now - due;
            self.late_max = self.late_max.max(now - due);
            let _ = device.send(&packet); // a host that takes no more drops it, as a card would
        }
    }

    /// Does what was ordered; tells whether to go on.
    fn obey(&mut self) -> bool {
        loop {
            let order = match self.inbox.try_recv() {
                Ok(order) => order,
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            };
            let now = self.began.elapsed();
            for (path, burst) in self.paths.iter_mut().zip(&mut self.bursts) {
                match order {
                    Order::Change(profile) => path.change(now, profile),
                    Order::Cut => path.cut(Duration::MAX),
                    Order::Heal => path.heal(),
                    Order::Watch(rate_bps) => *burst = Some(Burst::new(rate_bps, now)),
                }
            }
        }
    }

    fn publish(&mut self) {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let cpu = Duration::new(cpu.tv_sec.cast_unsigned(), cpu.tv_nsec as u32);
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        *snapshot = Snapshot {
            forward: self.paths[0].counters(),
            back: self.paths[1].counters(),
            cpu,
            late: self.late,
            late_max: snapshot.late_max.max(std::mem::take(&mut self.late_max)),
            burst_bytes: self.bursts.map(|it| it.map_or(0.0, |it| it.most())),
        };
    }

    /// Until there is something to read, to hand on or to obey; tells which devices have something to read.
    fn wait(&mut self) -> Result<[bool; 2]> {
        let due = self.paths.iter().filter_map(Path::next_at).min();
        let left = due.map(|due| due.saturating_sub(self.began.elapsed()));
        let may_spin =
            std::mem::replace(&mut self.is_early, left.is_some_and(|it| it > SPIN_AFTER));
        if let Some(due) = due
            && may_spin
            && left.is_some_and(|left| left <= SPIN)
        {
            while self.began.elapsed() < due {
                std::hint::spin_loop();
            }
            return Ok([false, false]);
        }
        let early = if self.is_early { SPIN } else { Duration::ZERO };
        let timeout = left.map(|left| (left - early).max(SLEEP_MIN));
        let timeout = timeout.map(Timespec::try_from).transpose()?;
        let (input, wake) = (PollFlags::IN, self.wake.as_fd());
        let [first, second] = &self.devices;
        let mut files = [
            PollFd::from_borrowed_fd(first.as_fd(), input),
            PollFd::from_borrowed_fd(second.as_fd(), input),
            PollFd::from_borrowed_fd(wake, input),
        ];
        match poll(&mut files, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_gone =
            |file: &PollFd<'_>| file.revents().intersects(PollFlags::ERR | PollFlags::HUP);
        anyhow::ensure!(!files.iter().any(is_gone), "a device has gone");
        if !files[2].revents().is_empty() {
            rustix::io::read(wake, &mut [0; 8])?;
        }
        Ok([
            !files[0].revents().is_empty(),
            !files[1].revents().is_empty(),
        ])
    }
}
