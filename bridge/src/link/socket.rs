//! A UDP socket for quinn whose datagrams leave through [`Shaping`].
//!
//! quinn tells a socket neither which connection asks nor which one sends. Both are found by what quinn 0.11
//! does: it makes a connection's poller while it makes the connection, inside `connect` and `accept`, so what
//! [`beginning`] names in that call is whose poller it is; and a connection's task calls `try_send` right
//! after its own poller said that it may, with nothing between (`drive_transmit`), so whoever was last told so
//! on this thread is who sends. A datagram sent without having asked is the endpoint's own reply. A destination
//! would not tell as much: it changes when a peer moves, and peers behind one NAT share it.
//!
//! The runtime watches the socket for what arrives alone. tokio's own socket asks to be told of room to send, too,
//! and a kernel tells that of a UDP socket for every datagram that has left it: the runtime's thread was woken once a
//! packet, for nothing, since it never sends.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use causeway_proto::rate::FlowKey;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::SockRef;

use super::rate::Pace;
use super::receiving::Receiving;
use super::shaping::{FlowHandle, Shaping, Wire};

thread_local! {
    /// Whose connection is being made on this thread.
    static BEGINNING: Cell<Option<Arc<Pace>>> = const { Cell::new(None) };
    /// Who was told last on this thread that it may send, and has not yet.
    static TURN: Cell<Option<Arc<FlowHandle>>> = const { Cell::new(None) };
}

/// Makes a connection whose datagrams are paced by `pace`.
pub(super) fn beginning<T>(pace: &Arc<Pace>, make: impl FnOnce() -> T) -> T {
    BEGINNING.set(Some(Arc::clone(pace)));
    let made = make();
    BEGINNING.set(None);
    made
}

/// See the module.
#[derive(Debug)]
pub(super) struct ShapedSocket {
    receiving: Receiving,
    shaping: Shaping,
    /// What the endpoint sends by itself.
    replies: FlowHandle,
}

impl ShapedSocket {
    /// `pace` is that of the link, if the socket has only one.
    pub(super) fn new(socket: UdpSocket, shaping: &Shaping, pace: Arc<Pace>) -> io::Result<Self> {
        let buffer = SockRef::from(&socket).recv_buffer_size()?;
        let wire = Wire::new(socket)?;
        Ok(Self {
            replies: shaping.add_flow(&wire, pace),
            receiving: Receiving::new(wire, buffer)?,
            shaping: shaping.clone(),
        })
    }
}

impl AsyncUdpSocket for ShapedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let pace = BEGINNING.take().unwrap_or_default();
        Box::pin(Poller(Arc::new(
            self.shaping.add_flow(self.receiving.wire(), pace),
        )))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match TURN.take() {
            Some(flow) => flow.push(transmit),
            None => self.replies.reply(transmit),
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.receiving.poll(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.receiving.wire().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        let wire = self.receiving.wire();
        let most = wire.state().max_gso_segments();
        most.min(self.replies.segments(wire))
    }

    fn max_receive_segments(&self) -> usize {
        self.receiving.wire().state().gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.receiving.wire().state().may_fragment()
    }
}

/// One connection's place in the shaping.
struct Poller(Arc<FlowHandle>);

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Poller").field(&self.key()).finish()
    }
}

impl Poller {
    fn key(&self) -> FlowKey {
        self.0.key()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.0.poll_room(cx.waker()) {
            return Poll::Pending;
        }
        TURN.set(Some(Arc::clone(&self.0)));
        Poll::Ready(Ok(()))
    }
}
