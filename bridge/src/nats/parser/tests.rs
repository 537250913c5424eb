use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Plain {
    sid: u64,
    subject: Vec<u8>,
    reply: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

fn encode(message: &Plain) -> Vec<u8> {
    let mut out = Vec::new();
    let Plain {
        sid,
        subject,
        reply,
        headers,
        payload,
    } = message;
    out.extend_from_slice(if headers.is_empty() {
        b"MSG "
    } else {
        b"HMSG "
    });
    out.extend_from_slice(subject);
    out.extend_from_slice(format!(" {sid} ").as_bytes());
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    if !headers.is_empty() {
        out.extend_from_slice(format!("{} ", headers.len()).as_bytes());
    }
    out.extend_from_slice(format!("{}\r\n", headers.len() + payload.len()).as_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
    out
}

fn plain(buffer: &[u8], sid: u64, entry: &Entry) -> Plain {
    Plain {
        sid,
        subject: buffer[entry.subject()].to_vec(),
        reply: buffer[entry.reply()].to_vec(),
        headers: buffer[entry.headers()].to_vec(),
        payload: buffer[entry.payload()].to_vec(),
    }
}

/// Feeds `bytes` in pieces cut at `cuts`, as reads would; returns the messages by subscription.
fn feed(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Plain>, ProtocolError> {
    let mut buffer = Vec::new();
    let mut out = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        buffer.extend_from_slice(&bytes[from..to.max(from)]);
        from = to.max(from);
        let found = scan(&buffer)?;
        for run in &found.runs {
            out.extend(
                run.entries
                    .iter()
                    .map(|entry| plain(&buffer, run.sid, entry)),
            );
        }
        assert!(
            found.need > buffer.len() - found.consumed,
            "must ask for more than there is"
        );
        buffer.drain(..found.consumed);
    }
    Ok(out)
}

fn message() -> impl Strategy<Value = Plain> {
    (
        1..4_u64,
        "[a-z$]{1,8}(\\.[a-z0-9]{1,8}){0,3}",
        prop_oneof![Just(String::new()), "\\$JS\\.ACK\\.[a-z0-9.]{1,40}"],
        prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec(any::<u8>(), 0..60).prop_map(|tail| {
                let mut block = b"NATS/1.0\r\n".to_vec();
                block.extend(tail);
                block
            })
        ],
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(sid, subject, reply, headers, payload)| Plain {
            sid,
            subject: subject.into_bytes(),
            reply: reply.into_bytes(),
            headers,
            payload,
        })
}

proptest! {
    #[test]
    fn every_split_gives_the_same_messages(
        messages in proptest::collection::vec(message(), 1..20),
        mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
        let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let got = feed(&bytes, &cuts).unwrap();
        for sid in 1..4 {
            let of = |all: &[Plain]| -> Vec<Plain> {
                all.iter().filter(|message| message.sid == sid).cloned().collect()
            };
            prop_assert_eq!(of(&got), of(&messages));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = scan(&bytes);
    }

    #[test]
    fn damaged_frames_never_panic(
        messages in proptest::collection::vec(message(), 1..6),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(found) = scan(&bytes) {
            prop_assert!(found.consumed <= bytes.len());
            for entry in found.runs.iter().flat_map(|run| &run.entries) {
                prop_assert!(entry.payload().end + 2 <= found.consumed);
            }
        }
    }
}

#[test]
fn controls_are_told_apart() {
    let bytes = b"INFO {\"a\":1}\r\n+OK\r\nPING\r\n-ERR 'Stale Connection'\r\nPONG\r\n";
    let found = scan(bytes).unwrap();
    let texts: Vec<_> = found
        .controls
        .iter()
        .map(|control| match control {
            Control::Info(span) | Control::Error(span) => {
                String::from_utf8_lossy(&bytes[span.clone()]).into_owned()
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, ["{\"a\":1}", "Ping", "'Stale Connection'", "Pong"]);
    assert_eq!(found.consumed, bytes.len());
}

#[test]
fn runs_of_interleaved_subscriptions_are_merged() {
    let bytes = b"MSG a 1 1\r\nx\r\nMSG a 2 1\r\ny\r\nMSG a 1 1\r\nz\r\n";
    let found = scan(bytes).unwrap();
    let sizes: Vec<_> = found
        .runs
        .iter()
        .map(|run| (run.sid, run.entries.len()))
        .collect();
    assert_eq!(sizes, [(1, 2), (2, 1)]);
    assert_eq!(
        found.runs.iter().map(|run| run.wire_bytes).sum::<usize>(),
        bytes.len()
    );
}

#[test]
fn an_incomplete_message_says_how_much_it_needs() {
    let found = scan(b"MSG a 1 1000000\r\nxx").unwrap();
    assert_eq!((found.consumed, found.need), (0, 17 + 1_000_000 + 2));
}

#[test]
fn malformed_frames_are_refused() {
    let cases: [(&[u8], ProtocolError); 14] = [
        (b"MSG a 1\r\n", ProtocolError::MalformedMessageLine),
        (b"MSG a\r\n", ProtocolError::MalformedMessageLine),
        (b"MSG  1 1\r\nx\r\n", ProtocolError::MalformedMessageLine),
        (b"MSG a x 1\r\nx\r\n", ProtocolError::MalformedMessageLine),
        (b"MSG a 1 -1\r\nx\r\n", ProtocolError::MalformedMessageLine),
        (
            b"MSG a 1 r q 1\r\nx\r\n",
            ProtocolError::MalformedMessageLine,
        ),
        (b"MSG a 1  1\r\nx\r\n", ProtocolError::MalformedMessageLine),
        (
            b"HMSG a 1 2 1\r\nx\r\n",
            ProtocolError::MalformedMessageLine,
        ),
        (b"HMSG a 1 1\r\nx\r\n", ProtocolError::MalformedMessageLine),
        (
            b"MSG a 1 99999999999999999999\r\n",
            ProtocolError::MalformedMessageLine,
        ),
        (
            b"MSG a 1 99999999999\r\n",
            ProtocolError::MessageTooLarge {
                size: 99_999_999_999,
                max: MESSAGE_LEN_MAX,
            },
        ),
        (b"MSG a 1 1\r\nxyz", ProtocolError::MissingMessageEnd),
        (b"PING\n", ProtocolError::MissingLineEnd),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            ProtocolError::UnknownOperation,
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(
            scan(bytes),
            Err(error),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn a_line_without_end_is_refused_at_the_limit() {
    let mut bytes = b"MSG ".to_vec();
    bytes.resize(LINE_LEN_MAX - 1, b'a');
    assert!(scan(&bytes).is_ok());
    bytes.push(b'a');
    assert_eq!(scan(&bytes), Err(ProtocolError::LineTooLong(LINE_LEN_MAX)));
    assert_eq!(scan(b"Xyz"), Err(ProtocolError::UnknownOperation));
}
