//! One end of a connection: what quinn's driver and the sidecar's socket do, in virtual time.

mod writing;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use causeway::link::{DeclaredRate, Pace, PathHints, transport};
use causeway_proto::rate::{FlowKey, HEADERS_V4, LinkKey, Shaper, Step};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, ServerConfig, StreamEvent, StreamId,
};

use super::{BATCH, Load, PACKET_MAX, tls};

const SENDER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    7000,
);
const RECEIVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    7443,
);
/// What a batch of a higher priority begins with, before the time at which it was written.
const FRESH: u8 = 0xf5;
/// Datagrams that quinn's driver asks for at once.
const SEGMENTS_MAX: usize = 10;

/// One datagram on its way.
#[derive(Clone)]
pub(super) struct Datagram(Vec<u8>);

impl Datagram {
    pub(super) fn packet_len(&self) -> u64 {
        self.0.len() as u64 + HEADERS_V4
    }
}

pub(super) struct End {
    epoch: Instant,
    peer: SocketAddr,
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    load: Load,
    /// When a trickle last sent.
    sent_at: Option<Duration>,
    /// Batches begun so far.
    begun: u32,
    ended: bool,
    sending: Option<(StreamId, Bytes)>,
    /// Batches that are written or being written, and not acknowledged whole.
    unacknowledged: HashMap<StreamId, usize>,
    batch: Bytes,
    reading: Vec<StreamId>,
    read: u64,
    delays: Vec<Duration>,
    pace: Arc<Pace>,
    declared: DeclaredRate,
    link: LinkKey,
    shaper: Shaper<Datagram>,
    flow: FlowKey,
    wait: Option<Duration>,
    timer: Option<Duration>,
    buffer: Vec<u8>,
}

impl End {
    /// A sender that has dialled, and the receiver that will hear of it.
    pub(super) fn pair(
        epoch: Instant,
        now: Duration,
        hints: &PathHints,
        seed: u64,
    ) -> (Self, Self) {
        let (server, client) = tls::sides();
        let rate = &hints.rate;
        let pace = Pace::new(Some(rate.clone()), SENDER);
        let mut config = ServerConfig::with_crypto(server);
        config.transport_config(transport(hints, &pace));
        let receiver = Self::new(epoch, now, SENDER, rate, pace, Some(config), seed);
        let pace = Pace::new(Some(rate.clone()), RECEIVER);
        let mut sender = Self::new(epoch, now, RECEIVER, rate, pace, None, !seed);
        let mut config = ClientConfig::new(client);
        config.transport_config(transport(hints, &sender.pace));
        let connection = sender
            .endpoint
            .connect(epoch + now, config, RECEIVER, "causeway")
            .expect("a name and an address that can be dialled");
        sender.connection = Some(connection);
        sender.load = Load::Saturating;
        (sender, receiver)
    }

    fn new(
        epoch: Instant,
        now: Duration,
        peer: SocketAddr,
        rate: &DeclaredRate,
        pace: Arc<Pace>,
        server: Option<ServerConfig>,
        seed: u64,
    ) -> Self {
        let mut config = EndpointConfig::default();
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        config.rng_seed(Some(bytes));
        let mut shaper = Shaper::new(None, now);
        let link = shaper.add_link(now, rate.get(), PACKET_MAX);
        let flow = shaper.add_flow(now, link);
        Self {
            epoch,
            peer,
            endpoint: Endpoint::new(Arc::new(config), server.map(Arc::new), true, None),
            connection: None,
            load: Load::Nothing,
            sent_at: None,
            begun: 0,
            ended: false,
            sending: None,
            unacknowledged: HashMap::new(),
            batch: Bytes::from(vec![0x5a; BATCH]),
            reading: Vec::new(),
            read: 0,
            delays: Vec::new(),
            pace,
            declared: rate.clone(),
            link,
            shaper,
            flow,
            wait: None,
            timer: None,
            buffer: Vec::new(),
        }
    }

    pub(super) fn read(&self) -> u64 {
        self.read
    }

    pub(super) fn delays(&self) -> &[Duration] {
        &self.delays
    }

    pub(super) fn set_load(&mut self, load: Load) {
        self.load = load;
    }

    /// Bits a second that the controller allows.
    pub(super) fn pace(&self) -> Option<u64> {
        self.pace.get()
    }

    pub(super) fn stands(&self) -> bool {
        !self.ended && self.connection.is_some()
    }

    pub(super) fn mtu(&self) -> u16 {
        self.connection
            .as_ref()
            .map_or(0, |(_, connection)| connection.current_mtu())
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        let trickle = match (self.load, self.sent_at) {
            (Load::Trickle { every, .. } | Load::Both { every }, Some(at)) => Some(at + every),
            _ => None,
        };
        self.timer.into_iter().chain(self.wait).chain(trickle).min()
    }

    /// A datagram came out of the path.
    pub(super) fn receive(&mut self, now: Duration, datagram: Datagram) {
        let at = self.epoch + now;
        self.buffer.clear();
        let bytes = BytesMut::from(&datagram.0[..]);
        let event = self
            .endpoint
            .handle(at, self.peer, None, None, bytes, &mut self.buffer);
        match event {
            Some(DatagramEvent::NewConnection(incoming)) => {
                if let Ok(new) = self.endpoint.accept(incoming, at, &mut self.buffer, None) {
                    self.connection = Some(new);
                }
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some((ours, connection)) = &mut self.connection
                    && *ours == handle
                {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Does what quinn's driver does, then what the socket does; returns what leaves.
    pub(super) fn drive(&mut self, now: Duration) -> Vec<Datagram> {
        let at = self.epoch + now;
        let mut left = Vec::new();
        loop {
            if let Some((_, connection)) = &mut self.connection
                && connection.poll_timeout().is_some_and(|due| due <= at)
            {
                connection.handle_timeout(at);
            }
            self.exchange_events(now);
            self.write_fresh(now);
            self.write(now);
            let filled = self.fill(now);
            self.shaper
                .set_link_rate(now, self.link, self.declared.get());
            self.shaper.set_pace(now, self.flow, self.pace.get());
            let before = left.len();
            self.wait = loop {
                match self.shaper.poll(now) {
                    Step::Send(_, datagram) => left.push(datagram),
                    Step::Wait(until) => break Some(until),
                    Step::Idle => break None,
                }
            };
            self.shaper.settle(now);
            if !filled && left.len() == before {
                let timer = self
                    .connection
                    .as_mut()
                    .and_then(|(_, connection)| connection.poll_timeout());
                self.timer = timer.map(|due| due.saturating_duration_since(self.epoch));
                return left;
            }
        }
    }

    fn exchange_events(&mut self, now: Duration) {
        let Some((handle, connection)) = &mut self.connection else {
            return;
        };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::ConnectionLost { .. } => self.ended = true,
                Event::Stream(StreamEvent::Readable { id }) => self.reading.push(id),
                Event::Stream(StreamEvent::Finished { id }) => {
                    self.unacknowledged.remove(&id);
                }
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    while let Some(id) = connection.streams().accept(Dir::Uni) {
                        self.reading.push(id);
                    }
                }
                _ => {}
            }
        }
        for id in self.reading.drain(..) {
            let mut stream = connection.recv_stream(id);
            let Ok(mut chunks) = stream.read(false) else {
                continue;
            };
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.read += chunk.bytes.len() as u64;
                if let Some((&FRESH, stamp)) = chunk.bytes.split_first() {
                    let written = stamp.try_into().map_or(0, u64::from_be_bytes);
                    self.delays.push(now - Duration::from_nanos(written));
                }
            }
            let _ = chunks.finalize();
        }
    }

    /// Moves datagrams from quinn to the shaper while that has room.
    fn fill(&mut self, now: Duration) -> bool {
        let Some((_, connection)) = &mut self.connection else {
            return false;
        };
        let mut filled = false;
        while self.shaper.has_room(self.flow) {
            let segments = (self.shaper.depth(self.flow) as usize).min(SEGMENTS_MAX);
            self.buffer.clear();
            let at = self.epoch + now;
            let Some(transmit) = connection.poll_transmit(at, segments, &mut self.buffer) else {
                break;
            };
            let size = transmit.segment_size.unwrap_or(transmit.size);
            for segment in self.buffer[..transmit.size].chunks(size) {
                let datagram = Datagram(segment.to_vec());
                self.shaper.push(self.flow, datagram.packet_len(), datagram);
            }
            filled = true;
        }
        filled
    }
}
