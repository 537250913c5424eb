//! The first words of a session.

use causeway_proto::frame::{Frame, Hello};
use causeway_proto::handshake::{Agreed, check_hello, first_frame};
use causeway_proto::id::RegionId;
use tokio::time::timeout;

use super::HELLO_TIMEOUT;
use super::end::SessionEnd;
use crate::link::Session as Connection;

/// Says `Hello`, hears the peer's, and judges it.
pub async fn shake_hands(
    connection: &mut Connection,
    own: &Hello,
    expected: &RegionId,
) -> Result<(Agreed, Hello), SessionEnd> {
    let hello = Frame::Hello(own.clone())
        .encode()
        .expect("our own names are within their bounds");
    connection
        .control
        .send(hello)
        .await
        .map_err(|_| SessionEnd::Lost)?;
    let first = timeout(HELLO_TIMEOUT, connection.control_rx.recv())
        .await
        .map_err(|_| SessionEnd::NoHello)?
        .ok_or(SessionEnd::Lost)?;
    let hello = first_frame(Frame::decode_message(&first)?)?;
    let agreed = check_hello(own, &hello, &connection.peer, expected)?;
    Ok((agreed, hello))
}
