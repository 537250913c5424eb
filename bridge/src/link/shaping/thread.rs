//! The thread itself, and what it shares with those who push.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use causeway_proto::rate::{FlowKey, Step};
use quinn::udp::Transmit;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::Counts;
use super::flows::Flows;
use super::wire::{Packet, send};
use crate::link::rate::{DeclaredRate, headers};

/// Packets sent before the lock is taken again.
const BATCH: usize = 32;

#[derive(Debug)]
pub(super) struct State {
    pub(super) flows: Flows,
    pub(super) is_idle: bool,
    pub(super) is_over: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    began: Instant,
    state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) counts: Counts,
}

/// A rate has changed that the thread may be sleeping by.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        // The thread looks at rates under the lock: it has not looked yet, or it sleeps and hears this.
        drop(self.lock());
        self.changed.notify_one();
    }
}

impl Shared {
    pub(super) fn new(host: DeclaredRate) -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::new(State {
                flows: Flows::new(host),
                is_idle: false,
                is_over: false,
            }),
            changed: Condvar::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Datagrams of a flow; the thread learns of them if it may have to do something before it would have looked.
    pub(super) fn push(&self, state: &mut State, key: FlowKey, transmit: &Transmit<'_>) {
        if state.flows.push(key, transmit) || state.is_idle {
            self.changed.notify_one();
        }
    }

    /// The thread's life.
    pub(super) fn run(&self) {
        // The kernel may wake a sleeper 50 us late to save power; at 100 Mbit/s that is half a packet.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
        go_first();
        let mut due = Vec::with_capacity(BATCH);
        let mut woken = Vec::new();
        let mut state = self.lock();
        while !state.is_over {
            let wait = self.turn(&mut state, &mut due, &mut woken);
            if !due.is_empty() || !woken.is_empty() {
                drop(state);
                self.send(&due);
                due.clear();
                let sent = self.now();
                woken.drain(..).for_each(Waker::wake);
                state = self.lock();
                state.flows.settle(sent);
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

    /// Collects what may leave now, and who has room now; says how long there is nothing to do, `None` for until
    /// something is pushed.
    fn turn(
        &self,
        state: &mut State,
        due: &mut Vec<Packet>,
        woken: &mut Vec<Waker>,
    ) -> Option<Duration> {
        count(&self.counts.turns, 1);
        let now = self.now();
        state.flows.refresh(now);
        let wait = loop {
            match state.flows.poll(now) {
                Step::Send(_, packet) => due.push(packet),
                Step::Wait(until) => break Some(until.saturating_sub(now)),
                Step::Idle => break None,
            }
            if due.len() == BATCH {
                break Some(Duration::ZERO);
            }
        };
        state.flows.take_woken(woken);
        wait
    }

    fn send(&self, due: &[Packet]) {
        send(due, |packets, len, to: SocketAddr| {
            count(&self.counts.packets, packets as u64);
            let bytes = len as u64 + packets as u64 * headers(to);
            count(&self.counts.bytes, bytes);
        });
    }
}

/// What the thread oversleeps is rate lost, and it needs little: it goes ahead of all threads without real-time priority,
/// where it may (RLIMIT_RTPRIO, CAP_SYS_NICE). Niceness would not do: a thread that has just begun its slice on the
/// same core keeps it for some milliseconds.
fn go_first() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let why = match set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
    {
        Ok(()) => return tracing::debug!("the shaping thread has real-time priority"),
        Err(thread_priority::Error::OS(code)) => io::Error::from_raw_os_error(code).to_string(),
        Err(other) => other.to_string(),
    };
    tracing::info!(
        why,
        "the shaping thread gets no real-time priority (RLIMIT_RTPRIO): on a busy machine some per cent of a declared rate are lost"
    );
}

pub(super) fn count(of: &AtomicU64, more: u64) {
    of.fetch_add(more, Ordering::Relaxed);
}
