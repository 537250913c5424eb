//! How a socket waits for what arrives.
//!
//! While little comes the runtime tells of each datagram. While much comes that is a wake-up for every one or two of
//! them, which costs more than to read them; so then nobody is told, and the socket is looked at with each tick of the
//! runtime's clock, until a look finds little. A look that finds much of what the kernel's buffer holds came late:
//! then the runtime tells of each for a while, however much comes.

use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::RecvMeta;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep_until};

use super::shaping::Wire;

/// The runtime's clock ticks so often. On a path of a WAN it is no delay.
const TICK: Duration = Duration::from_millis(1);
/// Messages of the kernel in a tick that are many, and so few that the runtime may tell of each again.
const MANY: usize = 4;
const FEW: usize = 2;
/// Of what the kernel's buffer holds a look may find so much; with what the kernel counts besides, a tenth of it.
const SAFE_SHARE: usize = 16;
/// So long each message is told of when a look has found more.
const TOLD_FOR: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Receiving {
    wire: Arc<Wire>,
    /// Bytes that one look may find.
    safe: usize,
    /// One task reads.
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
enum Waiting {
    Told {
        watched: AsyncFd<Arc<Wire>>,
        /// Before then nothing else comes into question.
        until: Instant,
        tick: Instant,
        /// Messages since the tick.
        came: usize,
    },
    Looking {
        next: Pin<Box<Sleep>>,
        /// Messages and bytes that this look has found.
        came: usize,
        bytes: usize,
    },
}

impl Receiving {
    /// Waits for what arrives at `wire`, whose kernel buffer has room for `buffer` bytes.
    pub(super) fn new(wire: Arc<Wire>, buffer: usize) -> io::Result<Self> {
        let waiting = Mutex::new(told(&wire, Instant::now())?);
        Ok(Self {
            wire,
            safe: buffer / SAFE_SHARE,
            waiting,
        })
    }

    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Messages that have arrived, each of one datagram or several of one length.
    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            match &mut *waiting {
                Waiting::Told {
                    watched,
                    until,
                    tick,
                    came,
                } => {
                    let mut guard = ready!(watched.poll_read_ready(cx))?;
                    let Ok(received) = guard.try_io(|wire| wire.get_ref().recv(bufs, meta)) else {
                        continue;
                    };
                    // Fewer than asked for: there is nothing more, and to be told so would take another system call.
                    if received.as_ref().is_ok_and(|count| *count < bufs.len()) {
                        guard.clear_ready();
                    }
                    if now > *tick + TICK {
                        (*tick, *came) = (now, 0);
                    }
                    *came += received.as_ref().unwrap_or(&0);
                    if *came >= MANY && now >= *until {
                        *waiting = Waiting::Looking {
                            next: Box::pin(sleep_until(next_tick(now))),
                            came: 0,
                            bytes: 0,
                        };
                    }
                    return Poll::Ready(received);
                }
                Waiting::Looking { next, came, bytes } => {
                    ready!(next.as_mut().poll(cx));
                    let received = self.wire.recv(bufs, meta);
                    let count = *received.as_ref().unwrap_or(&0);
                    *came += count;
                    *bytes += meta[..count].iter().map(|it| it.len).sum::<usize>();
                    if count < bufs.len() {
                        let is_late = *bytes > self.safe;
                        let is_over = *came <= FEW || is_late;
                        (*came, *bytes) = (0, 0);
                        next.as_mut().reset(next_tick(now));
                        let until = if is_late { now + TOLD_FOR } else { now };
                        // Where nobody can be told, looking goes on.
                        if is_over && let Ok(told) = told(&self.wire, until) {
                            *waiting = told;
                        }
                    }
                    if !received.as_ref().is_err_and(is_nothing) {
                        return Poll::Ready(received);
                    }
                }
            }
        }
    }
}

/// The runtime rounds up to its next tick.
fn next_tick(now: Instant) -> Instant {
    now + Duration::from_nanos(1)
}

fn told(wire: &Arc<Wire>, until: Instant) -> io::Result<Waiting> {
    #[expect(
        deprecated,
        reason = "what takes its place is unsafe; a Wire owns its socket for life"
    )]
    let watched = AsyncFd::with_interest(Arc::clone(wire), Interest::READABLE)?;
    Ok(Waiting::Told {
        watched,
        until,
        tick: Instant::now(),
        came: 0,
    })
}

fn is_nothing(why: &io::Error) -> bool {
    why.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use std::future::poll_fn;
    use std::net::UdpSocket;

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    struct Pair {
        from: UdpSocket,
        to: Receiving,
    }

    impl Pair {
        fn new(buffer: usize) -> Self {
            let [from, to] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            to.set_nonblocking(true).unwrap();
            from.connect(to.local_addr().unwrap()).unwrap();
            let to = Receiving::new(Wire::new(to).unwrap(), buffer).unwrap();
            Self { from, to }
        }

        fn send(&self, numbers: std::ops::Range<u32>) {
            for number in numbers {
                self.from.send(&number.to_be_bytes()).unwrap();
            }
        }

        /// What the next read brings.
        async fn read(&self) -> Vec<u32> {
            let mut buffers = [[0; 64]; 2];
            let mut meta = [RecvMeta::default(); 2];
            let mut bufs = buffers.each_mut().map(|it| IoSliceMut::new(it));
            let read = poll_fn(|cx| self.to.poll(cx, &mut bufs, &mut meta));
            let count = timeout(DEADLINE, read).await.unwrap().unwrap();
            let mut numbers = Vec::new();
            for (buffer, meta) in buffers.iter().zip(&meta[..count]) {
                let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
                numbers.extend(buffer[..meta.len].chunks(4).map(number));
            }
            numbers
        }

        async fn read_until(&self, last: u32) -> Vec<u32> {
            let mut numbers = Vec::new();
            while numbers.last() != Some(&last) {
                numbers.extend(self.read().await);
            }
            numbers
        }

        /// Until when it is told of each, if it is.
        fn told_until(&self) -> Option<Instant> {
            match &*self.to.waiting.lock().unwrap() {
                Waiting::Told { until, .. } => Some(*until),
                Waiting::Looking { .. } => None,
            }
        }

        fn is_told(&self) -> bool {
            self.told_until().is_some()
        }
    }

    #[tokio::test]
    async fn many_datagrams_are_looked_for_few_are_told_of() {
        let pair = Pair::new(4 << 20);
        pair.send(0..1);
        assert_eq!(pair.read().await, [0]);
        assert!(pair.is_told());
        pair.send(1..100);
        assert!(pair.read_until(99).await.into_iter().eq(1..100));
        assert!(!pair.is_told(), "they came at once");
        // The look that comes next finds only this one.
        pair.send(100..101);
        assert_eq!(pair.read().await, [100]);
        assert!(pair.is_told());
        pair.send(101..102);
        assert_eq!(pair.read().await, [101]);
    }

    #[tokio::test]
    async fn a_look_that_finds_much_of_the_buffer_is_the_last_for_a_while() {
        let pair = Pair::new(64 * SAFE_SHARE);
        let began = Instant::now();
        pair.send(0..99);
        assert!(pair.read_until(98).await.into_iter().eq(0..99));
        let until = pair.told_until().expect("380 bytes are more than 64");
        assert!(until >= began + TOLD_FOR);
        pair.send(100..110);
        assert!(pair.read_until(109).await.into_iter().eq(100..110));
        assert!(pair.is_told() || Instant::now() >= until);
    }
}
