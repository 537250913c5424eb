//! Numbers in columns: LEB128, since small differences are what there is most of.

use crate::error::DecodeError;
use crate::wire::Reader;

/// Bytes of the longest number: 64 bits, seven a byte.
const LEN_MAX: usize = 10;

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn take(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for index in 0..LEN_MAX {
        let byte = reader.u8(field)?;
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if bits << shift >> shift != bits {
            break; // more than 64 bits
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::OutOfRange {
        field,
        value: u64::MAX,
    })
}

/// Small numbers of either sign as small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1) as u64 ^ (value >> 63) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A length, of at most `max`.
pub(super) fn take_len(
    reader: &mut Reader<'_>,
    max: usize,
    field: &'static str,
) -> Result<usize, DecodeError> {
    let len = take(reader, field)?;
    let too_long = DecodeError::TooLong {
        field,
        len,
        max: max as u64,
    };
    usize::try_from(len)
        .ok()
        .filter(|len| *len <= max)
        .ok_or(too_long)
}

/// Bytes with their length before them.
pub(super) fn take_section<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let len = take_len(reader, reader.remaining(), field)?;
    reader.take(len, field)
}

pub(super) fn put_section(out: &mut Vec<u8>, section: &[u8]) {
    put(out, section.len() as u64);
    out.extend_from_slice(section);
}
