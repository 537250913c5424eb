//! Any bytes as the head of a batch: refused, or the one encoding of what they decode to.
#![no_main]

use causeway_proto::codec::BatchHead;
use causeway_proto::limits::BATCH_HEAD_LEN_MAX;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match BatchHead::decode_prefix(bytes) {
    Ok(Some((head, len))) => {
        assert_eq!(
            head.encode().expect("a decoded head is legal"),
            bytes[..len]
        );
    }
    Ok(None) => assert!(
        bytes.len() < BATCH_HEAD_LEN_MAX,
        "more bytes than any head needs"
    ),
    Err(_) => {}
});
