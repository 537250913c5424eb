//! A socket, and datagrams on their way into it.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

/// How long a socket whose kernel buffer is full is left alone.
const FULL_WAIT: Duration = Duration::from_millis(1);
/// Payload that one system call takes at most, with room for what IP and UDP add.
const CALL_LEN_MAX: usize = u16::MAX as usize - 100;

/// A socket: the thread sends, and the runtime receives.
#[derive(Debug)]
pub(in crate::link) struct Wire {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Wire {
    pub(in crate::link) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Arc::new(Self { socket, state }))
    }

    /// What the system can do for this socket.
    pub(in crate::link) fn state(&self) -> &UdpSocketState {
        &self.state
    }

    pub(in crate::link) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Datagrams that have arrived.
    pub(in crate::link) fn recv(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), bufs, meta)
    }

    fn send(&self, transmit: &Transmit<'_>) {
        let full = |why: &io::Error| why.kind() == io::ErrorKind::WouldBlock;
        while let Err(why) = self.state.send((&self.socket).into(), transmit)
            && full(&why)
        {
            std::thread::park_timeout(FULL_WAIT);
        }
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Datagrams that quinn made in one go: copied once, and all of one length but the last.
#[derive(Debug)]
pub(super) struct Made {
    wire: Arc<Wire>,
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    source: Option<IpAddr>,
    len: usize,
    bytes: Vec<u8>,
}

impl Made {
    pub(super) fn new(wire: &Arc<Wire>, transmit: &Transmit<'_>) -> Arc<Self> {
        Arc::new(Self {
            wire: Arc::clone(wire),
            destination: transmit.destination,
            ecn: transmit.ecn,
            source: transmit.src_ip,
            len: transmit
                .segment_size
                .unwrap_or(transmit.contents.len())
                .max(1),
            bytes: transmit.contents.to_vec(),
        })
    }

    pub(super) fn packets(self: &Arc<Self>) -> impl Iterator<Item = Packet> {
        (0..self.bytes.len()).step_by(self.len).map(|start| Packet {
            made: Arc::clone(self),
            start,
            end: (start + self.len).min(self.bytes.len()),
        })
    }
}

/// One datagram.
#[derive(Debug)]
pub(super) struct Packet {
    made: Arc<Made>,
    start: usize,
    end: usize,
}

impl Packet {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    fn bytes(&self) -> &[u8] {
        &self.made.bytes[self.start..self.end]
    }

    /// Whether it may leave in one system call with the one before: like it, and no longer.
    fn follows(&self, first: &Self) -> bool {
        let (of, first_of) = (&self.made, &first.made);
        Arc::ptr_eq(of, first_of)
            || (Arc::ptr_eq(&of.wire, &first_of.wire)
                && of.destination == first_of.destination
                && of.ecn == first_of.ecn
                && of.source == first_of.source
                && self.len() <= first.len())
    }

    /// How many of `packets`, of which it is the first, may leave in one system call.
    fn run(&self, packets: &[Self]) -> usize {
        let len = self.len();
        let most = self.made.wire.state.max_gso_segments();
        let most = most.min(CALL_LEN_MAX / len.max(1)).max(1);
        // All are full before the last.
        let full = packets
            .iter()
            .take_while(|packet| packet.len() == len && packet.follows(self))
            .count();
        let last = packets
            .get(full)
            .is_some_and(|packet| packet.follows(self) && packet.len() < len);
        (full + usize::from(last)).clamp(1, most)
    }
}

/// Sends packets; neighbours of one length to one address go in one system call. `told` hears of each call: how many
/// packets, of how many bytes in all, and where to.
pub(super) fn send(packets: &[Packet], mut told: impl FnMut(usize, usize, SocketAddr)) {
    let mut joined = Vec::new();
    let mut rest = packets;
    while let Some(first) = rest.first() {
        let (run, later) = rest.split_at(first.run(rest));
        let (last, made) = (run.last().unwrap_or(first), &first.made);
        // A flow's packets come in order, so those of one go are neighbours there too.
        let contents = if run.iter().all(|packet| Arc::ptr_eq(&packet.made, made)) {
            &made.bytes[first.start..last.end]
        } else {
            joined.clear();
            run.iter()
                .for_each(|packet| joined.extend_from_slice(packet.bytes()));
            &joined
        };
        made.wire.send(&Transmit {
            destination: made.destination,
            ecn: made.ecn,
            contents,
            segment_size: (run.len() > 1).then_some(first.len()),
            src_ip: made.source,
        });
        told(run.len(), contents.len(), made.destination);
        rest = later;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use super::*;

    /// Two sockets, and a way to make packets of a text for the second.
    struct Pair {
        from: Arc<Wire>,
        to: UdpSocket,
    }

    impl Pair {
        fn new() -> Self {
            let [from, to] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            let from = Wire::new(from).unwrap();
            to.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            Self { from, to }
        }

        fn make(&self, contents: &[u8], len: usize) -> Vec<Packet> {
            let transmit = Transmit {
                destination: self.to.local_addr().unwrap(),
                ecn: None,
                contents,
                segment_size: (len < contents.len()).then_some(len),
                src_ip: None,
            };
            Made::new(&self.from, &transmit).packets().collect()
        }

        /// What arrives of so many packets.
        fn arrived(&self, count: usize) -> Vec<Vec<u8>> {
            let mut buffer = [0; 2000];
            let read = |_| {
                let len = self.to.recv(&mut buffer).unwrap();
                buffer[..len].to_vec()
            };
            (0..count).map(read).collect()
        }
    }

    #[test]
    fn packets_arrive_as_they_were_made_however_they_leave() {
        let pair = Pair::new();
        let mut packets = pair.make(b"aaabbbcc", 3);
        packets.extend(pair.make(b"dddeeef", 3));
        packets.extend(pair.make(b"gg", 2));
        // As two flows to one address would take turns.
        packets.swap(1, 3);
        let sent: Vec<_> = packets.iter().map(|it| it.bytes().to_vec()).collect();
        let (mut count, mut bytes) = (0, 0);
        send(&packets, |packets, len, _| {
            count += packets;
            bytes += len;
        });
        assert_eq!((count, bytes), (7, 17));
        assert_eq!(pair.arrived(7), sent);
    }

    #[test]
    fn a_short_packet_ends_a_call() {
        let pair = Pair::new();
        let mut packets = pair.make(b"aaabbbcc", 3);
        packets.extend(pair.make(b"dddeee", 3));
        if pair.from.state.max_gso_segments() >= 3 {
            assert_eq!(packets[0].run(&packets), 3);
        }
        assert_eq!(packets[2].run(&packets[2..]), 1);
        assert!(!packets[3].follows(&packets[2]));
    }
}
