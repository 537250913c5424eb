//! The relay's own task: it owns the sockets, the clients and both paths.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::{IP_UDP_HEADER_BYTES, RelayCounters, RelayOptions};
use crate::wan::Path;

/// A dialler that reconnects comes from a new address each time; the one longest silent makes room.
const CLIENTS_MAX: usize = 64;
/// Packets from the target that wait for the relay's thread; what is beyond waits in the sockets.
const FROM_TARGET_MAX: usize = 1024;
/// Asked of the system for each socket; it gives what it allows.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Packets taken from a socket before deliveries that are due get their turn.
const RUN_MAX: usize = 64;

/// One client address and its socket towards the target.
struct Client {
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
    heard_at: Duration,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A datagram on its way, and whose it is: the client it comes from, or goes to.
#[derive(Debug, Clone)]
struct Packet {
    client: SocketAddr,
    bytes: Vec<u8>,
}

impl Packet {
    fn wire_bytes(&self) -> usize {
        self.bytes.len() + IP_UDP_HEADER_BYTES
    }
}

enum Action {
    FromClient(SocketAddr, usize),
    FromTarget(Packet),
    Cut(bool),
    Deliver,
    Nothing,
    Stop,
}

/// Owns all of the relay's state.
pub(super) struct Driver {
    began: Instant,
    listen: UdpSocket,
    target: SocketAddr,
    clients: HashMap<SocketAddr, Client>,
    forward: Path<Packet>,
    back: Path<Packet>,
    counted: watch::Sender<RelayCounters>,
}

impl Driver {
    pub(super) fn new(
        listen: UdpSocket,
        options: RelayOptions,
        counted: watch::Sender<RelayCounters>,
    ) -> Self {
        Self {
            began: Instant::now(),
            listen,
            target: options.target,
            clients: HashMap::new(),
            forward: Path::new(options.forward, options.seed),
            back: Path::new(options.back, !options.seed),
            counted,
        }
    }

    pub(super) async fn run(mut self, mut cut_changes: watch::Receiver<bool>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let (to_back, mut from_target) = mpsc::channel(FROM_TARGET_MAX);
        loop {
            let action = self
                .select(&mut buffer, &mut from_target, &mut cut_changes)
                .await;
            match action {
                Action::FromClient(client, length) => {
                    self.take_from_client(client, &buffer[..length], &to_back)
                        .await;
                    self.drain_clients(&mut buffer, &to_back).await;
                }
                Action::FromTarget(packet) => self.take_from_target(packet, &mut from_target),
                Action::Cut(is_cut) => {
                    for path in [&mut self.forward, &mut self.back] {
                        if is_cut {
                            path.cut(Duration::MAX);
                        } else {
                            path.heal();
                        }
                    }
                }
                Action::Deliver | Action::Nothing => {}
                Action::Stop => return,
            }
            self.deliver_due();
            let counters = RelayCounters {
                forward: self.forward.counters(),
                back: self.back.counters(),
            };
            self.counted.send_replace(counters);
        }
    }

    async fn select(
        &self,
        buffer: &mut [u8],
        from_target: &mut mpsc::Receiver<Packet>,
        cut_changes: &mut watch::Receiver<bool>,
    ) -> Action {
        let due = [self.forward.next_at(), self.back.next_at()];
        let due = due.into_iter().flatten().min().map(|due| self.began + due);
        tokio::select! {
            changed = cut_changes.changed() => match changed {
                Ok(()) => Action::Cut(*cut_changes.borrow_and_update()),
                Err(_) => Action::Stop,
            },
            () = wait_until(due) => Action::Deliver,
            received = self.listen.recv_from(buffer) => match received {
                Ok((length, client)) => Action::FromClient(client, length),
                Err(_) => Action::Nothing, // the echo of a packet that nobody took
            },
            Some(packet) = from_target.recv() => Action::FromTarget(packet),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn take_from_client(
        &mut self,
        client: SocketAddr,
        bytes: &[u8],
        to_back: &mpsc::Sender<Packet>,
    ) {
        let now = self.now();
        if let Some(known) = self.clients.get_mut(&client) {
            known.heard_at = now;
        } else if self.add_client(client, to_back).await.is_err() {
            return; // as a router without a free port would: the packet is lost, the sender tries again
        }
        let bytes = bytes.to_vec();
        let packet = Packet { client, bytes };
        self.forward.enter(now, packet.wire_bytes(), packet);
    }

    /// What else has come meanwhile, so that a busy link costs few turns of the loop.
    async fn drain_clients(&mut self, buffer: &mut [u8], to_back: &mpsc::Sender<Packet>) {
        for _ in 1..RUN_MAX {
            let Ok((length, client)) = self.listen.try_recv_from(buffer) else {
                return;
            };
            self.take_from_client(client, &buffer[..length], to_back)
                .await;
        }
    }

    fn take_from_target(&mut self, packet: Packet, more: &mut mpsc::Receiver<Packet>) {
        let now = self.now();
        self.back.enter(now, packet.wire_bytes(), packet);
        for _ in 1..RUN_MAX {
            let Ok(packet) = more.try_recv() else { return };
            self.back.enter(now, packet.wire_bytes(), packet);
        }
    }

    async fn add_client(
        &mut self,
        client: SocketAddr,
        to_back: &mpsc::Sender<Packet>,
    ) -> io::Result<()> {
        if self.clients.len() >= CLIENTS_MAX {
            let silent = self.clients.iter().min_by_key(|(_, it)| it.heard_at);
            if let Some(silent) = silent.map(|(address, _)| *address) {
                self.clients.remove(&silent);
            }
        }
        let socket = Arc::new(prepare(StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)?);
        socket.connect(self.target).await?;
        let reader = tokio::spawn(read_target(Arc::clone(&socket), client, to_back.clone()));
        let heard_at = self.now();
        let reader = reader.abort_handle();
        self.clients.insert(
            client,
            Client {
                socket,
                reader,
                heard_at,
            },
        );
        Ok(())
    }

    fn deliver_due(&mut self) {
        let now = self.now();
        // A full socket or a dead receiver loses the packet, as a real one would. Sent past tokio, which would
        // refuse to try before it has seen a new socket writable.
        while let Some(packet) = self.forward.leave(now) {
            if let Some(client) = self.clients.get(&packet.client) {
                let _ = SockRef::from(&*client.socket).send(&packet.bytes);
            }
        }
        while let Some(packet) = self.back.leave(now) {
            let _ = SockRef::from(&self.listen).send_to(&packet.bytes, &packet.client.into());
        }
    }
}

pub(super) fn prepare(socket: StdUdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let buffers = SockRef::from(&socket);
    buffers.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Reads what the target sends to one client, until aborted.
async fn read_target(socket: Arc<UdpSocket>, client: SocketAddr, to_back: mpsc::Sender<Packet>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is the echo of a packet that the target did not take while it was dead.
        if let Ok(length) = socket.recv(&mut buffer).await {
            let packet = Packet {
                client,
                bytes: buffer[..length].to_vec(),
            };
            if to_back.send(packet).await.is_err() {
                return;
            }
        }
    }
}
