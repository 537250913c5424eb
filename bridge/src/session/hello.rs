//! The first words of a session.

use causeway_proto::frame::{Frame, Hello};
use causeway_proto::handshake::{Agreed, check_hello, first_frame};
use causeway_proto::id::RegionId;
use tokio::time::timeout;

use super::HELLO_TIMEOUT;
use super::end::SessionEnd;
use crate::link::Session as Connection;

/// Says `Hello`.
pub async fn greet(connection: &Connection, own: &Hello) -> Result<(), SessionEnd> {
    let hello = Frame::Hello(own.clone())
        .encode()
        .expect("our own names are within their bounds");
    let said = timeout(HELLO_TIMEOUT, connection.control.send(hello)).await;
    match said {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(SessionEnd::Lost),
    }
}

/// Hears the peer's `Hello`, and judges it.
pub async fn hear(
    connection: &mut Connection,
    own: &Hello,
    expected: &RegionId,
) -> Result<Agreed, SessionEnd> {
    let first = timeout(HELLO_TIMEOUT, connection.control_rx.recv())
        .await
        .map_err(|_| SessionEnd::NoHello)?
        .ok_or(SessionEnd::Lost)?;
    let hello = first_frame(Frame::decode_message(&first)?)?;
    Ok(check_hello(own, &hello, &connection.peer, expected)?)
}
