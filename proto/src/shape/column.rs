//! The values of one slot, in the form that leaves zstd the least.
//!
//! | kind | form | for |
//! |---|---|---|
//! | 0 | each value and a line feed | any text |
//! | 1 | differences from value to value | whole numbers that move little: counters, clocks |
//! | 2 | the first value, differences of its digits | times and other numbers of fixed shape |
//! | 3 | a pattern, its digits as four bits each | hashes, UUIDs |
//!
//! A pattern is a value with `0` for each of its digits. A column is its kind, its length and its bytes.

use super::number;
use crate::error::DecodeError;
use crate::wire::Reader;

const TEXT: u8 = 0;
const WHOLE: u8 = 1;
const DIGITS: u8 = 2;
const HEX: u8 = 3;

/// Digits of a decimal pattern: what 128 bits hold.
const DIGITS_MAX: usize = 38;
/// Digits of a hexadecimal pattern: fewer are not worth the pattern.
const HEX_DIGITS_MIN: usize = 8;
const PATTERN_LEN_MAX: usize = 256;
/// Differences must fit a number.
const DIFFERENCE_MAX: i128 = i64::MAX as i128;

/// Appends the column of these values.
pub(super) fn put(out: &mut Vec<u8>, values: &[&[u8]]) {
    let numeric = whole(values).map(|body| (WHOLE, body));
    let (kind, body) = numeric
        .or_else(|| digits(values).map(|body| (DIGITS, body)))
        .or_else(|| hex(values).map(|body| (HEX, body)))
        .unwrap_or_else(|| (TEXT, text(values)));
    out.push(kind);
    number::put_section(out, &body);
}

fn text(values: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::with_capacity(values.iter().map(|value| value.len() + 1).sum());
    for value in values {
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    body
}

/// Whether differences pay: as text, a digit that zstd cannot predict costs four tenths of a byte.
fn pays(body_len: usize, digit_count: usize) -> bool {
    body_len * 10 <= digit_count * 4
}

fn whole(values: &[&[u8]]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(values.len() * 2);
    let (mut last, mut digit_count) = (0, 0);
    for value in values {
        let number = parse_whole(value)?;
        number::put(&mut body, number::zigzag(number - last));
        last = number;
        digit_count += value.len();
    }
    pays(body.len(), digit_count).then_some(body)
}

/// A whole number that is written in the one way that [`Cursor::take`] writes it.
fn parse_whole(value: &[u8]) -> Option<i64> {
    let (sign, digits) = match value {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    let is_written_so = match digits {
        [b'0'] => sign > 0,
        [b'1'..=b'9', ..] => digits.len() <= 18,
        _ => false,
    };
    if !is_written_so {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + sign * i64::from(digit - b'0'))
    })
}

fn digits(values: &[&[u8]]) -> Option<Vec<u8>> {
    let pattern = pattern(values, |byte| byte.is_ascii_digit())?;
    let digit_count = pattern.iter().filter(|byte| **byte == b'0').count();
    if digit_count == 0 || digit_count > DIGITS_MAX {
        return None;
    }
    let first = values.first()?;
    let mut body = Vec::with_capacity(values.len() * 2 + pattern.len() + 2);
    number::put_section(&mut body, first);
    let mut last = read_digits(first);
    for value in values {
        let number = read_digits(value);
        let difference = number - last;
        if difference.abs() > DIFFERENCE_MAX {
            return None;
        }
        number::put(&mut body, number::zigzag(difference as i64));
        last = number;
    }
    pays(body.len(), digit_count * values.len()).then_some(body)
}

/// The digits of a value as one number; the caller has counted them.
fn read_digits(value: &[u8]) -> i128 {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + i128::from(digit - b'0'))
}

fn hex(values: &[&[u8]]) -> Option<Vec<u8>> {
    let pattern = pattern(values, |byte| nibble(byte).is_some())?;
    if pattern.iter().filter(|byte| **byte == b'0').count() < HEX_DIGITS_MIN {
        return None;
    }
    let mut body = Vec::with_capacity(values.len() * pattern.len() / 2 + pattern.len() + 2);
    number::put_section(&mut body, &pattern);
    for value in values {
        let mut half = None;
        for nibble in value.iter().filter_map(|byte| nibble(*byte)) {
            match half.take() {
                None => half = Some(nibble << 4),
                Some(high) => body.push(high | nibble),
            }
        }
        body.extend(half);
    }
    Some(body)
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The pattern that all values have: a `0` for each digit, any other byte for itself.
fn pattern(values: &[&[u8]], is_digit: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let place = |byte: &u8| if is_digit(*byte) { b'0' } else { *byte };
    let (first, others) = values.split_first()?;
    if first.is_empty() || first.len() > PATTERN_LEN_MAX {
        return None;
    }
    let pattern: Vec<u8> = first.iter().map(place).collect();
    let fits = |value: &&[u8]| {
        value.len() == pattern.len() && value.iter().zip(&pattern).all(|(b, p)| place(b) == *p)
    };
    others.iter().all(fits).then_some(pattern)
}

/// Reads the values of a column one after the other.
#[derive(Debug)]
pub(super) enum Cursor<'a> {
    Text(&'a [u8]),
    Whole(Reader<'a>, i64),
    Digits(Reader<'a>, &'a [u8], i128),
    Hex(Reader<'a>, &'a [u8]),
}

impl<'a> Cursor<'a> {
    /// Begins the column at the reader's front, and takes it out.
    pub(super) fn begin(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
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
                Ok(Self::Digits(reader, first, read_digits(first)))
            }
            HEX => {
                let pattern = take_pattern(&mut reader)?;
                Ok(Self::Hex(reader, pattern))
            }
            unknown => Err(out_of_range("column kind", unknown.into())),
        }
    }

    /// Appends the next value.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
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
                put_digits(out, last.unsigned_abs().into(), *last < 0);
            }
            Self::Digits(reader, first, last) => {
                let difference = number::unzigzag(number::take(reader, "number")?);
                *last = last.wrapping_add(difference.into());
                let mut left = last.unsigned_abs();
                let begin = out.len();
                out.extend_from_slice(first);
                let places = out[begin..].iter_mut().rev();
                for place in places.filter(|byte| byte.is_ascii_digit()) {
                    *place = b'0' + (left % 10) as u8;
                    left /= 10;
                }
            }
            Self::Hex(reader, pattern) => {
                let mut low = None;
                for place in *pattern {
                    if *place != b'0' {
                        out.push(*place);
                        continue;
                    }
                    let nibble = match low.take() {
                        Some(low) => low,
                        None => {
                            let byte = reader.u8("hexadecimal")?;
                            low = Some(byte & 0xf);
                            byte >> 4
                        }
                    };
                    out.push(b"0123456789abcdef"[usize::from(nibble)]);
                }
            }
        }
        Ok(())
    }

    /// Refuses what is left over.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
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

fn put_digits(out: &mut Vec<u8>, mut number: u128, is_negative: bool) {
    if is_negative {
        out.push(b'-');
    }
    let begin = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[begin..].reverse();
}

fn out_of_range(field: &'static str, value: u64) -> DecodeError {
    DecodeError::OutOfRange { field, value }
}
