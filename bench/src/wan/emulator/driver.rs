//! The thread between the devices: reads packets, hands them on, obeys.

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::Result;
use causeway::wan::Path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tun_rs::SyncDevice;

use super::{Order, Snapshot};
use crate::wan::burst::Burst;

/// Packets read from one device before the other and what is due get their turn.
const RUN_MAX: usize = 64;
/// While packets come close together the thread looks for them only so often, as a card moderates its interrupts, instead of
/// being woken by each: that saves most of the CPU time that the emulator, and the hosts that it wakes, take from those who
/// are measured. Packets pay with half of it, which stays below what a link is held to: a part of its delay, in these bounds.
const MODERATION_PART: u32 = 200;
const MODERATION_MIN: Duration = Duration::from_micros(60);
const MODERATION_MAX: Duration = Duration::from_micros(250);
/// Packets are close together if less than this is between them.
const CLOSE: Duration = Duration::from_micros(500);
/// How often the time that the thread took is read: to ask costs a system call.
const CPU_EVERY: Duration = Duration::from_millis(10);
/// A timer of a virtual machine is late by about as much. Where a packet comes alone, after a sleep of
/// [`SPIN_AFTER`] or more, the thread wakes so much earlier and looks at the clock until it is time.
const SPIN: Duration = Duration::from_micros(100);
const SPIN_AFTER: Duration = Duration::from_millis(1);
const PACKET_BYTES_MAX: usize = 65_536;

/// Owns all of the emulator's state.
pub(super) struct Driver {
    began: Instant,
    devices: [SyncDevice; 2],
    paths: [Path<Box<[u8]>>; 2],
    bursts: [Option<Burst>; 2],
    /// When each device was last asked and had nothing.
    empty_at: [Duration; 2],
    inbox: mpsc::Receiver<Order>,
    wake: Arc<OwnedFd>,
    snapshot: Arc<Mutex<Snapshot>>,
    late: Duration,
    late_max: Duration,
    /// The last sleep was long, and meant to end before the next packet's time.
    is_early: bool,
    /// When a packet last came or left.
    busy_at: Duration,
    /// Another packet had come or left shortly before.
    is_dense: bool,
    cpu: Duration,
    cpu_read_at: Duration,
}

impl Driver {
    pub(super) fn new(
        devices: [SyncDevice; 2],
        paths: [Path<Box<[u8]>>; 2],
        inbox: mpsc::Receiver<Order>,
        wake: Arc<OwnedFd>,
        snapshot: Arc<Mutex<Snapshot>>,
    ) -> Self {
        Self {
            began: Instant::now(),
            devices,
            paths,
            bursts: [None; 2],
            empty_at: [Duration::ZERO; 2],
            inbox,
            wake,
            snapshot,
            late: Duration::ZERO,
            late_max: Duration::ZERO,
            is_early: false,
            busy_at: Duration::ZERO,
            is_dense: false,
            cpu: Duration::ZERO,
            cpu_read_at: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        // It goes ahead of everything that it carries packets for. Without the right to that it is less exact, and says
        // so by its lateness.
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Max, policy);
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        // It ends with its owner, or with a device, and with that a host.
        while let Ok(ready) = self.wait() {
            let mut is_busy = false;
            for (end, is_ready) in ready.into_iter().enumerate() {
                is_busy |= is_ready && self.take(end, &mut buffer);
                is_busy |= self.deliver(end);
            }
            let now = self.began.elapsed();
            self.is_dense = is_busy && now - self.busy_at < CLOSE;
            if is_busy {
                self.busy_at = now;
            }
            if !self.obey() {
                return;
            }
            self.publish();
        }
    }

    /// Takes what a host has sent; tells whether that was anything.
    fn take(&mut self, end: usize, buffer: &mut [u8]) -> bool {
        for taken in 0..RUN_MAX {
            let asked_at = self.began.elapsed();
            match self.devices[end].recv(buffer) {
                Ok(length) => {
                    let packet = &buffer[..length];
                    // Neighbour discovery and the like of IPv6 would only be noise in the counts.
                    if packet.first().is_some_and(|byte| byte >> 4 == 4) {
                        let now = self.began.elapsed();
                        if let Some(burst) = &mut self.bursts[end] {
                            burst.see(self.empty_at[end], now, length);
                        }
                        self.paths[end].enter(now, length, packet.into());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.empty_at[end] = asked_at;
                    return taken > 0;
                } // nothing more to read; a device that is gone shows in the wait
            }
        }
        true
    }

    /// Hands on what is due; tells whether that was anything.
    fn deliver(&mut self, from: usize) -> bool {
        let now = self.began.elapsed();
        let mut is_busy = false;
        let (path, device) = (&mut self.paths[from], &self.devices[1 - from]);
        while let Some(due) = path.next_at()
            && let Some(packet) = path.leave(now)
        {
            self.late += now - due;
            self.late_max = self.late_max.max(now - due);
            let _ = device.send(&packet); // a host that takes no more drops it, as a card would
            is_busy = true;
        }
        is_busy
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
        let now = self.began.elapsed();
        if now - self.cpu_read_at >= CPU_EVERY {
            let cpu = clock_gettime(ClockId::ThreadCPUTime);
            self.cpu = Duration::new(cpu.tv_sec.cast_unsigned(), cpu.tv_nsec as u32);
            self.cpu_read_at = now;
        }
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        *snapshot = Snapshot {
            forward: self.paths[0].counters(),
            back: self.paths[1].counters(),
            cpu: self.cpu,
            late: self.late,
            late_max: snapshot.late_max.max(std::mem::take(&mut self.late_max)),
            burst_bytes: self.bursts.map(|it| it.map_or(0.0, |it| it.most())),
            burst_certain_bytes: self.bursts.map(|it| it.map_or(0.0, |it| it.certain())),
        };
    }

    /// Until there is something to read, to hand on or to obey; tells which devices have something to read.
    fn wait(&mut self) -> Result<[bool; 2]> {
        if self.is_dense {
            self.moderate()?;
            return Ok([true, true]);
        }
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
        let timeout = left.map(|left| left.saturating_sub(early));
        let timeout = timeout.map(Timespec::try_from).transpose()?;
        let (input, wake) = (PollFlags::IN, self.wake.as_fd());
        let [first, second] = &self.devices;
        let mut files = [
            PollFd::from_borrowed_fd(first.as_fd(), input),
            PollFd::from_borrowed_fd(second.as_fd(), input),
            PollFd::from_borrowed_fd(wake, input),
        ];
        await_any(&mut files, timeout.as_ref())?;
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

    /// Looks away from the devices for a while, not from orders.
    fn moderate(&self) -> Result<()> {
        let part = self.paths[0].profile().delay / MODERATION_PART;
        let part = Timespec::try_from(part.clamp(MODERATION_MIN, MODERATION_MAX))?;
        let wake = self.wake.as_fd();
        let mut orders = [PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        await_any(&mut orders, Some(&part))?;
        if !orders[0].revents().is_empty() {
            rustix::io::read(wake, &mut [0; 8])?;
        }
        Ok(())
    }
}

fn await_any(files: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> Result<()> {
    match poll(files, timeout) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
