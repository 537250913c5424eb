//! The bytes that may never change: golden files, and the examples of WIRE.md, which are the same bytes
//! with a name for each field.

#[cfg(test)]
mod samples;

use causeway_proto::codec::{BatchHead, Codec, LaneDecoder};
use causeway_proto::copies::{Assembler, cut};
use causeway_proto::frame::Frame;
use causeway_proto::limits::COPY_HEAD_LEN_MAX;

const WIRE_MD: &str = include_str!("../../WIRE.md");

macro_rules! goldens {
    ($($name:literal,)*) => {
        /// Every golden file: name, text.
        const GOLDENS: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../golden/v1/", $name, ".hex"))),)*
        ];
    };
}

goldens! {
    "hello",
    "open",
    "resume",
    "resume_from_nothing",
    "credit",
    "ack",
    "rejected",
    "stall",
    "close_lane",
    "ping",
    "pong",
    "goodbye",
    "batch_raw",
    "batch_empty",
    "batch_zstd_1",
    "batch_zstd_2",
    "batch_shaped",
    "shaped",
    "copy",
}

/// The bytes of a text of hex digits, in which `#` begins a comment.
fn bytes(text: &str) -> Vec<u8> {
    let uncommented = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(line));
    let digits: String = uncommented.flat_map(str::split_whitespace).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in: {text}");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn golden(name: &str) -> Vec<u8> {
    let found = GOLDENS.iter().find(|(known, _)| *known == name);
    bytes(found.unwrap_or_else(|| panic!("no golden {name}")).1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

/// The examples of WIRE.md: code blocks marked `hex NAME`.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let blocks = WIRE_MD.split("```hex ").skip(1);
    blocks
        .map(|block| {
            let (name, rest) = block.split_once('\n').expect("a name, then the bytes");
            (
                name,
                bytes(rest.split("```").next().expect("split gives at least one")),
            )
        })
        .collect()
}

#[test]
fn frames_have_their_golden_bytes() {
    let frames = [
        ("hello", samples::hello()),
        ("open", samples::open()),
        ("resume", samples::resume()),
        ("resume_from_nothing", samples::resume_from_nothing()),
        ("credit", samples::credit()),
        ("ack", samples::ack()),
        ("rejected", samples::rejected()),
        ("stall", samples::stall()),
        ("close_lane", samples::close_lane()),
        ("ping", samples::ping()),
        ("pong", samples::pong()),
        ("goodbye", samples::goodbye()),
    ];
    for (name, frame) in frames {
        let golden = golden(name);
        assert_eq!(hex(&frame.encode().unwrap()), hex(&golden), "{name}");
        assert_eq!(Frame::decode_message(&golden), Ok(frame), "{name}");
    }
}

#[test]
fn raw_batches_have_their_golden_bytes() {
    let batches = [
        ("batch_raw", samples::batch_raw()),
        ("batch_empty", samples::batch_empty()),
    ];
    let mut decoder = LaneDecoder::new();
    for (name, (head, body)) in batches {
        let golden = golden(name);
        let whole = [head.encode().unwrap(), body].concat();
        assert_eq!(hex(&whole), hex(&golden), "{name}");
        let (decoded, len) = BatchHead::decode_prefix(&golden)
            .unwrap()
            .expect("a whole head");
        assert_eq!(decoded, head, "{name}");
        let batch = decoder.decode(&decoded, &golden[len..]).unwrap();
        assert_eq!(
            (batch.follows, batch.through),
            (head.follows, head.through),
            "{name}"
        );
    }
}

/// Decoded only: zstd may find another encoding of the same bytes in another version.
#[test]
fn compressed_goldens_are_decoded_in_one_context() {
    let mut decoder = LaneDecoder::new();
    for (name, batch) in ["batch_zstd_1", "batch_zstd_2"]
        .iter()
        .zip(samples::batches_compressed())
    {
        let golden = golden(name);
        let (head, len) = BatchHead::decode_prefix(&golden)
            .unwrap()
            .expect("a whole head");
        assert_eq!(decoder.decode(&head, &golden[len..]), Ok(batch), "{name}");
    }
}

#[test]
fn a_copy_has_its_golden_bytes() {
    let batch = golden("batch_zstd_2");
    let prefix = BatchHead::decode_prefix(&batch).unwrap();
    let (head, len) = prefix.expect("a whole head");
    let datagram_len_max = COPY_HEAD_LEN_MAX + batch.len() / 2;
    let pieces = cut(
        head.lane,
        head.seq,
        &batch[..len],
        &batch[len..],
        datagram_len_max,
    );
    let pieces = pieces.expect("two pieces");
    assert_eq!(hex(&pieces[1]), hex(&golden("copy")));
    let mut assembler = Assembler::new();
    assert_eq!(assembler.accept(&pieces[1]), Ok(None));
    assert_eq!(assembler.accept(&pieces[0]), Ok(Some(batch.into())));
}

#[test]
fn the_shaped_golden_is_decoded() {
    let golden = golden("batch_shaped");
    let prefix = BatchHead::decode_prefix(&golden).unwrap();
    let (head, len) = prefix.expect("a whole head");
    assert_eq!(head.codec, Codec::Shaped);
    let batch = LaneDecoder::new().decode(&head, &golden[len..]).unwrap();
    let payloads: Vec<_> = batch.iter().map(|record| record.unwrap().payload).collect();
    let json = |n: usize| format!("{{\"n\":{},\"k\":\"v\"}}", 1000 + n);
    assert_eq!(payloads.len(), 8);
    for (n, payload) in payloads.into_iter().enumerate() {
        assert_eq!(payload, json(n).as_bytes());
    }
}

#[test]
fn the_examples_of_wire_md_are_the_goldens() {
    let examples = examples();
    for (name, bytes) in &examples {
        assert_eq!(hex(bytes), hex(&golden(name)), "{name}");
    }
    let names: Vec<_> = examples.iter().map(|(name, _)| *name).collect();
    for (name, _) in GOLDENS {
        assert!(names.contains(name), "WIRE.md has no example {name}");
    }
}

/// A code that WIRE.md does not list cannot be added, nor one changed.
#[test]
fn the_codes_of_wire_md_are_those_of_the_code() {
    use causeway_proto::error::CloseReason;
    use causeway_proto::frame::{LaneClass, LaneCloseReason, StallReason};

    let row = |code: u32, name: String| {
        let row = format!("| {code} | {name} |");
        assert!(WIRE_MD.contains(&row), "WIRE.md has no row: {row}");
    };
    CloseReason::ALL
        .iter()
        .for_each(|r| row(r.code(), format!("{r:?}")));
    StallReason::ALL
        .iter()
        .for_each(|r| row(r.code().into(), format!("{r:?}")));
    LaneCloseReason::ALL
        .iter()
        .for_each(|r| row(r.code().into(), format!("{r:?}")));
    LaneClass::ALL
        .iter()
        .for_each(|r| row(r.code().into(), format!("{r:?}")));
}
