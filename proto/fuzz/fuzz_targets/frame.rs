//! Any bytes as a control frame: refused, or the one encoding of what they decode to.
#![no_main]

use causeway_proto::frame::Frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = Frame::decode_message(bytes) {
        assert_eq!(frame.encode().expect("a decoded frame is legal"), bytes);
    }
});
