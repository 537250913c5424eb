//! How large a record may be: a client's publish counts headers, and going over closes its connection.

use anyhow::{Context as _, Result, ensure};
use causeway_proto::headers::{BLOCK_LEN_MAX, Rejection, TargetTraits};
use causeway_tests::raw_nats::Stored;
use serde_json::json;

use crate::world::{ORDINARY, code_of, on_both, rewritten, seq_of, try_rewrite};

fn record(headers: Vec<u8>, payload_len: usize) -> Stored {
    Stored {
        subject: String::new(),
        headers,
        payload: vec![b'p'; payload_len],
        time: String::new(),
    }
}

/// A block that is `len` bytes long once rewritten.
fn block_of(len: usize) -> Result<Stored> {
    let with = |filler: usize| {
        let value = "v".repeat(filler);
        record(format!("NATS/1.0\r\nA: {value}\r\n\r\n").into_bytes(), 3)
    };
    let wide = TargetTraits {
        payload_len_max: usize::MAX,
        ..ORDINARY
    };
    let base = rewritten("DST.k", &with(1000), &wide)?.len();
    // The store time in our lines depends on the block; its spelling is 12 or 13 digits long.
    (0..5)
        .map(|off| with(1000 + len - base + 2 - off))
        .find(|it| rewritten("DST.k", it, &wide).is_ok_and(|block| block.len() == len))
        .context("a block of that length")
}

fn find_id(block: &[u8]) -> Result<usize> {
    let name = b"Nats-Msg-Id";
    let found = block.windows(name.len()).position(|bytes| bytes == name);
    found.context("an id")
}

#[test]
fn a_header_block_has_the_servers_limit() -> Result<()> {
    on_both(|world| {
        let fits = block_of(BLOCK_LEN_MAX)?;
        world.carried(&fits)?;
        // One byte more, past our own check.
        let mut block = rewritten("DST.k", &fits, &ORDINARY)?;
        block.insert(block.len() - 4, b'v');
        // Nor is it to be taken for the record before it.
        let id = find_id(&block)?;
        block[id] = b'X';
        let answer = world.nats.publish_acked("DST.over", &block, b"")?;
        assert_eq!(code_of(&answer), Some(10097), "{answer:?}");
        let over = record(
            [&fits.headers[..14], b"vvvv", &fits.headers[14..]].concat(),
            3,
        );
        let refused = try_rewrite("DST.k", &over, &ORDINARY, 0)?;
        assert!(
            matches!(refused, Err(Rejection::HeadersTooLong { .. })),
            "{refused:?}"
        );
        Ok(())
    })
}

#[test]
fn headers_count_towards_the_servers_largest_payload() -> Result<()> {
    on_both(|world| {
        let max = world.nats.max_payload();
        let traits = TargetTraits {
            payload_len_max: max,
            ..ORDINARY
        };
        let headers = rewritten("DST.k", &record(Vec::new(), 0), &traits)?.len();
        let rejection =
            |payload_len| try_rewrite("DST.k", &record(Vec::new(), payload_len), &traits, 0);
        // The store time in our lines may be a digit longer or shorter.
        let fits = max - headers - 2;
        world.carried_to("DST", &record(Vec::new(), fits), &traits)?;
        let refused = rejection(fits + 5)?;
        ensure!(matches!(refused, Err(Rejection::TooLarge { len, max: limit }) if len > limit));
        // The server's own answer to one byte too many: it closes the connection.
        let block = [b"NATS/1.0\r\nA: ".as_slice(), b"\r\n\r\n"].concat();
        seq_of(
            &world
                .nats
                .publish_acked("DST.k", &block, &vec![0; max - block.len()])?,
        )?;
        let over = world
            .nats
            .publish_acked("DST.k", &block, &vec![0; max - block.len() + 1]);
        ensure!(over.is_err(), "{over:?}");
        Ok(())
    })
}

#[test]
fn headers_count_towards_the_streams_largest_message() -> Result<()> {
    on_both(|world| {
        world
            .nats
            .create_stream("SMALL", &json!({"max_msg_size": 500}))?;
        let small = TargetTraits {
            message_len_max: Some(500),
            ..ORDINARY
        };
        let block = b"NATS/1.0\r\nA: 1\r\n\r\n";
        seq_of(
            &world
                .nats
                .publish_acked("SMALL.k", block, &vec![0; 500 - block.len()])?,
        )?;
        let over = world
            .nats
            .publish_acked("SMALL.k", block, &vec![0; 501 - block.len()])?;
        assert_eq!(code_of(&over), Some(10054), "{over:?}");
        let headers = rewritten("SMALL.k", &record(Vec::new(), 0), &small)?.len();
        world.carried_to("SMALL", &record(Vec::new(), 500 - headers - 2), &small)?;
        let refused = try_rewrite("SMALL.k", &record(Vec::new(), 500 - headers + 3), &small, 0)?;
        assert!(
            matches!(refused, Err(Rejection::TooLarge { max: 500, .. })),
            "{refused:?}"
        );
        Ok(())
    })
}
