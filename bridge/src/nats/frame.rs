//! Frames that we write, appended to a buffer without allocation.

use bytes::{BufMut, BytesMut};

use super::error::RequestError;

/// A subject that the protocol cannot carry: empty, or with white space or control characters.
/// Records read from a server never have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subject is empty or holds white space or control characters")]
pub struct InvalidSubject;

impl From<InvalidSubject> for RequestError {
    fn from(_: InvalidSubject) -> Self {
        Self::InvalidSubject
    }
}

/// Appends one publish to `buffer`: `HPUB` when the header parts hold anything, `PUB` otherwise.
///
/// The parts of `headers` are written one after the other and must together be one whole block,
/// `NATS/1.0\r\n` to the closing empty line; nothing in it is checked. `reply` may be empty. Headers
/// and payload together must not exceed the server's `max_payload`: it would close the connection.
/// On an error nothing is appended.
pub fn append_publish(
    buffer: &mut BytesMut,
    subject: &[u8],
    reply: &[u8],
    headers: &[&[u8]],
    payload: &[u8],
) -> Result<(), InvalidSubject> {
    if !is_plain(subject) || !(reply.is_empty() || is_plain(reply)) {
        return Err(InvalidSubject);
    }
    let headers_len: usize = headers.iter().map(|part| part.len()).sum();
    let body_len = headers_len + payload.len();
    buffer.reserve(subject.len() + reply.len() + body_len + 56);
    buffer.put_slice(if headers_len > 0 { b"HPUB " } else { b"PUB " });
    buffer.put_slice(subject);
    buffer.put_u8(b' ');
    if !reply.is_empty() {
        buffer.put_slice(reply);
        buffer.put_u8(b' ');
    }
    if headers_len > 0 {
        append_number(buffer, headers_len as u64);
        buffer.put_u8(b' ');
    }
    append_number(buffer, body_len as u64);
    buffer.put_slice(b"\r\n");
    for part in headers {
        buffer.put_slice(part);
    }
    buffer.put_slice(payload);
    buffer.put_slice(b"\r\n");
    Ok(())
}

/// Appends `value` in decimal.
pub fn append_number(buffer: &mut BytesMut, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    buffer.put_slice(&digits[at..]);
}

pub(crate) fn append_subscribe(buffer: &mut BytesMut, subject: &str, sid: u64) {
    buffer.reserve(subject.len() + 28);
    buffer.put_slice(b"SUB ");
    buffer.put_slice(subject.as_bytes());
    buffer.put_u8(b' ');
    append_number(buffer, sid);
    buffer.put_slice(b"\r\n");
}

pub(crate) fn append_unsubscribe(buffer: &mut BytesMut, sid: u64) {
    buffer.put_slice(b"UNSUB ");
    append_number(buffer, sid);
    buffer.put_slice(b"\r\n");
}

/// Whether the protocol can carry `subject`: not empty, nothing that separates fields or lines.
pub(crate) fn is_plain(subject: &[u8]) -> bool {
    !subject.is_empty() && subject.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(subject: &[u8], reply: &[u8], headers: &[&[u8]], payload: &[u8]) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        append_publish(&mut buffer, subject, reply, headers, payload).unwrap();
        buffer.to_vec()
    }

    #[test]
    fn publishes_are_written_as_the_protocol_says() {
        assert_eq!(published(b"a.b", b"", &[], b""), b"PUB a.b 0\r\n\r\n");
        assert_eq!(
            published(b"a", b"r", &[b"", b""], b"xyz"),
            b"PUB a r 3\r\nxyz\r\n"
        );
        assert_eq!(
            published(b"a", b"r", &[b"NATS/1.0\r\n", b"A: 1\r\n", b"\r\n"], b"xyz"),
            b"HPUB a r 18 21\r\nNATS/1.0\r\nA: 1\r\n\r\nxyz\r\n"
        );
    }

    #[test]
    fn a_subject_cannot_smuggle_a_frame() {
        let mut buffer = BytesMut::new();
        for subject in [&b""[..], b"a b", b"a\r\nPUB b 0", b"a\tb"] {
            assert!(append_publish(&mut buffer, subject, b"", &[], b"").is_err());
            assert!(buffer.is_empty());
        }
        assert!(append_publish(&mut buffer, b"a", b"b c", &[], b"").is_err());
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 9, 10, 1_234_567, u64::MAX] {
            let mut buffer = BytesMut::new();
            append_number(&mut buffer, value);
            assert_eq!(buffer, value.to_string().as_bytes());
        }
    }
}
