//! The two directions of one socket: what was read and not parsed, what waits to be written.
//!
//! Both directions are polled by one function instead of two tasks, so that neither a lock nor a
//! second task stands between them: a full send buffer never holds up reading.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::transport::Transport;

/// Read buffer. One read of a busy connection fills a good part of it.
const READ_CHUNK: usize = 256 * 1024;

/// Least room that is worth a read.
const READ_MIN: usize = 32 * 1024;

/// Chunks given to the kernel in one call, at most.
const SLICES_MAX: usize = 32;

/// Bytes that the outbox takes before it wants the socket to take some.
pub(crate) const OUTBOX_BYTES_MAX: usize = 512 * 1024;

/// What happened on the socket.
#[derive(Debug)]
pub(crate) enum Io {
    /// There is more to parse.
    Read,
    /// There is room in the outbox.
    Wrote,
    /// The peer has closed, or reading failed.
    ReadEnd(io::Result<()>),
    /// Writing failed; there may still be something to read.
    WriteEnd(io::Error),
}

/// One socket with its buffers.
pub(crate) struct Wire {
    pub(crate) transport: Transport,
    pub(crate) inbox: BytesMut,
    pub(crate) outbox: Outbox,
    /// Bytes that `inbox` must hold before parsing it again makes sense.
    pub(crate) need: usize,
}

impl Wire {
    pub(crate) fn new(transport: Transport, inbox: BytesMut) -> Self {
        Self {
            transport,
            inbox,
            outbox: Outbox::default(),
            need: 0,
        }
    }

    /// Writes what waits and, if `read`, reads what is there.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Io> {
        let before = self.outbox.bytes();
        if let Poll::Ready(Err(error)) = self.outbox.poll_write(&mut self.transport, cx) {
            return Poll::Ready(Io::WriteEnd(error));
        }
        if read && let Poll::Ready(io) = self.poll_fill(cx) {
            return Poll::Ready(io);
        }
        if self.outbox.bytes() < before {
            Poll::Ready(Io::Wrote)
        } else {
            Poll::Pending
        }
    }

    /// Writes what waits, closes our half, and reads until the peer has closed its half.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Io> {
        if self.outbox.poll_write(&mut self.transport, cx).is_ready() {
            // An error here shows in reading, which is what decides.
            let _ = Pin::new(&mut self.transport).poll_shutdown(cx);
        }
        self.poll_fill(cx)
    }

    /// Reads until nothing is left or the buffer is full.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Io> {
        self.make_room();
        let before = self.inbox.len();
        while self.inbox.capacity() - self.inbox.len() >= READ_MIN / 2 {
            let read = pin!(self.transport.read_buf(&mut self.inbox)).poll(cx);
            match read {
                Poll::Ready(Ok(count)) if count > 0 => {}
                _ if self.inbox.len() > before => break, // seen again on the next poll
                Poll::Ready(Ok(_)) => return Poll::Ready(Io::ReadEnd(Ok(()))),
                Poll::Ready(Err(error)) => return Poll::Ready(Io::ReadEnd(Err(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Io::Read)
    }

    /// Room for a good read, or for the whole of a large message. Takes the same memory again once
    /// the blocks made of it are gone.
    fn make_room(&mut self) {
        if self.inbox.is_empty() && self.inbox.capacity() > 4 * READ_CHUNK {
            self.inbox = BytesMut::new(); // do not keep what one large message needed
        }
        let wanted = (self.inbox.len() + READ_MIN).max(self.need);
        if self.inbox.capacity() < wanted {
            self.inbox
                .reserve(wanted.max(READ_CHUNK) - self.inbox.len());
        }
    }
}

/// Frames on their way to the socket.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    is_flushed: bool,
}

struct Outgoing {
    bytes: Bytes,
    /// Gives its room back to the writers when dropped.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Outbox {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, bytes: Bytes, permit: Option<OwnedSemaphorePermit>) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.queue.push_back(Outgoing {
                bytes,
                _permit: permit,
            });
        }
    }

    /// Throws away what waits.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    /// Ready when all is written and flushed.
    fn poll_write(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, outgoing) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(&outgoing.bytes);
                count += 1;
            }
            let transport = Pin::new(&mut *transport);
            let written = ready!(transport.poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
            self.is_flushed = false;
        }
        if !self.is_flushed {
            ready!(Pin::new(transport).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.queue.front_mut() {
            if written < front.bytes.len() {
                front.bytes.advance(written);
                return;
            }
            written -= front.bytes.len();
            self.queue.pop_front();
        }
    }
}
