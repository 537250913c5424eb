//! What is written is read, and each byte stands where stores of every release have it.

use super::*;

const SOURCE: SourceCheckpoint = SourceCheckpoint {
    epoch: Epoch(3),
    stream_created_ns: 5,
    watermark: Position {
        seq: SourceSeq(7),
        stored_at: StoredAt(8),
    },
    first: Some(SourceSeq(2)),
    sought: false,
    paused: true,
};
const TARGET: TargetCheckpoint = TargetCheckpoint {
    source_epoch: Epoch(3),
    at: Position {
        seq: SourceSeq(7),
        stored_at: StoredAt(8),
    },
    target_seq: TargetSeq(9),
    target_seq_shown: false,
    passed: TargetSeq(11),
    target_created_ns: 10,
    foreign_seen: true,
};

#[test]
fn values_are_read_as_written() {
    assert_eq!(SourceCheckpoint::decode(&SOURCE.encode()), Ok(SOURCE));
    assert_eq!(TargetCheckpoint::decode(&TARGET.encode()), Ok(TARGET));
}

/// Each byte in its place, so that nobody moves one without meaning to. Stores of every release
/// hold these bytes: a change here needs a new version.
#[test]
fn bytes_that_may_never_change() {
    let source = concat!(
        "43575343",         // CWSC
        "01",               // version
        "00000003",         // epoch
        "0000000000000005", // created
        "0000000000000007", // watermark: sequence
        "0000000000000008", // watermark: stored at
        "0000000000000002", // first
        "03",               // first is known, paused
        "5d19765b",         // CRC32
    );
    let target = concat!(
        "43575443",         // CWTC
        "02",               // version
        "00000003",         // epoch
        "0000000000000007", // at: sequence
        "0000000000000008", // at: stored at
        "0000000000000009", // target_seq
        "000000000000000a", // created
        "000000000000000b", // passed
        "01",               // foreign records seen
        "a3d6701b",         // CRC32
    );
    assert_eq!(hex(&SOURCE.encode()), source);
    assert_eq!(hex(&TARGET.encode()), target);
}

#[test]
fn a_target_of_version_1_had_nothing_passed() {
    let value = [
        &b"CWTC\x01\0\0\0\x03"[..],
        &7_u64.to_be_bytes(),
        &8_u64.to_be_bytes(),
        &9_u64.to_be_bytes(),
        &10_u64.to_be_bytes(),
        &[1],
        &[0x8d, 0x04, 0xea, 0x11], // as the release before wrote it
    ];
    let passed = TargetSeq(9);
    assert_eq!(
        TargetCheckpoint::decode(&value.concat()),
        Ok(TargetCheckpoint { passed, ..TARGET })
    );
}

#[test]
fn every_flipped_bit_and_every_other_length_is_seen() {
    let good = [SOURCE.encode(), TARGET.encode()];
    for good in good {
        let is_refused = |bytes: &[u8]| {
            SourceCheckpoint::decode(bytes).is_err() && TargetCheckpoint::decode(bytes).is_err()
        };
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(&bad), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(is_refused(&good[..len]), "length {len}");
        }
        assert!(is_refused(&[&good[..], &[0]].concat()), "trailing byte");
    }
}

#[test]
fn what_is_sound_but_not_ours_is_refused_by_name() {
    let source = SOURCE.encode();
    assert_eq!(TargetCheckpoint::decode(&source), Err(CorruptValue::Magic));
    let resealed = |at: usize, byte: u8| {
        let mut content = source[..source.len() - CRC_LEN].to_vec();
        content[at] = byte;
        SourceCheckpoint::decode(&seal(content))
    };
    assert_eq!(resealed(4, 2), Err(CorruptValue::Version(2)));
    let flags = source.len() - CRC_LEN - 1;
    assert_eq!(resealed(flags, 8), Err(CorruptValue::Flags(8)));
    let longer = seal([&source[..source.len() - CRC_LEN], &[0]].concat());
    let len = longer.len();
    assert_eq!(
        SourceCheckpoint::decode(&longer),
        Err(CorruptValue::Length(len))
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
