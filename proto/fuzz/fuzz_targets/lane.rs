//! Any bytes as a run of batches of a lane, each with its length in two bytes before it. The checksum
//! would stop almost all of them, and a head the rest, so a head is made to fit where it can be.
#![no_main]

use causeway_proto::codec::{BatchHead, LaneDecoder};
use libfuzzer_sys::fuzz_target;

/// More than window, blocks and tables of a context of the largest window that is allowed.
const CONTEXT_LEN_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = LaneDecoder::new();
    let mut rest = bytes;
    while let Some((len, more)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(more.len());
        let (batch, after) = more.split_at(len);
        rest = after;
        let Ok(Some((head, head_len))) = BatchHead::decode_prefix(batch) else {
            continue;
        };
        let body = &batch[head_len..];
        let body_len = u32::try_from(body.len()).expect("at most 64 KiB");
        let head = BatchHead { body_len, ..head };
        if let Ok(plain) = decoder.decode(&head, body) {
            assert_eq!(plain.body.len(), head.plain_len as usize);
            assert!(
                plain
                    .iter()
                    .all(|record| record.expect("validated").seq <= plain.through)
            );
        }
        assert!(decoder.memory() <= CONTEXT_LEN_MAX);
    }
});
