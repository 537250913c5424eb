//! Reading a column.

use super::super::number;
use super::{DIGITS, DIGITS_MAX, HEX, HEX_DIGITS, PATTERN_LEN_MAX, TEXT, WHOLE, read_digits};
use crate::error::DecodeError;
use crate::wire::Reader;

/// Digits that 64 bits hold, and the number above them.
const HALF_DIGITS: usize = 19;
const HALF: u128 = 10u128.pow(HALF_DIGITS as u32);

/// Reads the values of a column one after the other.
#[derive(Debug)]
pub(in crate::shape) enum Cursor<'a> {
    Text(&'a [u8]),
    Whole(Reader<'a>, i64),
    Digits(Reader<'a>, &'a [u8], i128),
    Hex(Reader<'a>, &'a [u8]),
}

impl<'a> Cursor<'a> {
    /// Begins the column at the reader's front, and takes it out.
    pub(in crate::shape) fn begin(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = reader.u8("column kind")?;
        let body = number::take_section(reader, "column")?;
        let mut reader = Reader::new(body);
        match kind {
            TEXT => Ok(Self::Text(body)),
            WHOLE => Ok(Self::Whole(reader, 0)),
            DIGITS => {
                let first = take_pattern(&mut reader)?;
                let digit_count = first.iter().filter(|byte| byte.is_ascii_digit()).count();
                if digit_count > DIGITS_MAX {
                    return Err(out_of_range("digits of a pattern", digit_count as u64));
                }
                let last = read_digits(first, first).unwrap_or_default();
                Ok(Self::Digits(reader, first, last))
            }
            HEX => {
                let pattern = take_pattern(&mut reader)?;
                // Else values without end would cost the sender nothing.
                if !pattern.contains(&b'0') {
                    return Err(out_of_range("digits of a pattern", 0));
                }
                Ok(Self::Hex(reader, pattern))
            }
            unknown => Err(out_of_range("column kind", unknown.into())),
        }
    }

    /// Appends the next value.
    pub(in crate::shape) fn take(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self {
            Self::Text(left) => {
                let end = memchr::memchr(b'\n', left);
                let end = end.ok_or_else(|| out_of_range("column length", left.len() as u64))?;
                out.extend_from_slice(&left[..end]);
                *left = &left[end + 1..];
            }
            Self::Whole(reader, last) => {
                let difference = number::unzigzag(number::take(reader, "number")?);
                *last = last.wrapping_add(difference);
                put_whole(out, *last);
            }
            Self::Digits(reader, first, last) => {
                let difference = number::unzigzag(number::take(reader, "number")?);
                *last = last.wrapping_add(difference.into());
                let begin = out.len();
                out.extend_from_slice(first);
                fill_digits(&mut out[begin..], last.unsigned_abs());
            }
            Self::Hex(reader, pattern) => {
                let digit_count = pattern.iter().filter(|place| **place == b'0').count();
                let packed = reader.take(digit_count.div_ceil(2), "hexadecimal")?;
                let mut nibbles = packed.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
                out.extend(pattern.iter().map(|place| match *place {
                    b'0' => HEX_DIGITS[usize::from(nibbles.next().unwrap_or_default())],
                    other => other,
                }));
            }
        }
        Ok(())
    }

    /// Refuses what is left over.
    pub(in crate::shape) fn finish(self) -> Result<(), DecodeError> {
        match self {
            Self::Text(left) => Reader::new(left).finish(),
            Self::Whole(reader, _) | Self::Digits(reader, ..) | Self::Hex(reader, _) => {
                reader.finish()
            }
        }
    }
}

fn take_pattern<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let len = number::take_len(reader, PATTERN_LEN_MAX, "pattern")?;
    reader.take(len, "pattern")
}

fn put_whole(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    let (begin, mut left) = (out.len(), number.unsigned_abs());
    loop {
        out.push(b'0' + (left % 10) as u8);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out[begin..].reverse();
}

/// Writes a number into the places of `text` that hold digits.
fn fill_digits(text: &mut [u8], number: u128) {
    // Two numbers of 64 bits are divided much faster than one of 128.
    let (high, mut left) = (number / HALF, (number % HALF) as u64);
    let places = text.iter_mut().rev().filter(|byte| byte.is_ascii_digit());
    for (index, place) in places.enumerate() {
        if index == HALF_DIGITS {
            left = high as u64; // of 128 bits and a sign
        }
        *place = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

fn out_of_range(field: &'static str, value: u64) -> DecodeError {
    DecodeError::OutOfRange { field, value }
}
