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

use std::ops::{Add, Mul, Sub};

use super::number;
pub(super) use cursor::Cursor;

mod cursor;

const TEXT: u8 = 0;
const WHOLE: u8 = 1;
const DIGITS: u8 = 2;
const HEX: u8 = 3;

/// Digits of a decimal pattern: what 128 bits hold.
const DIGITS_MAX: usize = 38;
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Digits of a hexadecimal pattern: fewer are not worth the pattern.
const HEX_DIGITS_MIN: usize = 8;
const PATTERN_LEN_MAX: usize = 256;
/// Values after which a kind that has not paid so far is given up.
const TRIAL: usize = 64;

/// Appends the column of these values, with `body` as scratch memory.
pub(super) fn put<'a>(
    out: &mut Vec<u8>,
    body: &mut Vec<u8>,
    values: impl Iterator<Item = &'a [u8]> + Clone,
) {
    let mut fits = |put: &dyn Fn(&mut Vec<u8>) -> Option<()>| {
        body.clear();
        put(body).is_some()
    };
    let kind = if fits(&|body| whole(body, values.clone())) {
        WHOLE
    } else if fits(&|body| digits(body, values.clone())) {
        DIGITS
    } else if fits(&|body| hex(body, values.clone())) {
        HEX
    } else {
        body.clear();
        text(body, values);
        TEXT
    };
    out.push(kind);
    number::put_section(out, body);
}

fn text<'a>(body: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    for value in values {
        body.extend_from_slice(value);
        body.push(b'\n');
    }
}

/// Counts digits against the bytes that stand for them: as text, a digit that zstd cannot predict costs four tenths of
/// a byte.
#[derive(Debug, Default)]
struct Account {
    values: usize,
    digits: usize,
}

impl Account {
    fn pays(&self, body: &[u8]) -> bool {
        body.len() * 10 <= self.digits * 4
    }

    /// One value more. `None`: if so many do not pay, more will not.
    fn add(&mut self, digits: usize, body: &[u8]) -> Option<()> {
        self.values += 1;
        self.digits += digits;
        (self.values != TRIAL || self.pays(body)).then_some(())
    }
}

fn whole<'a>(body: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) -> Option<()> {
    let (mut last, mut account) = (0, Account::default());
    for value in values {
        let number = parse_whole(value)?;
        number::put(body, number::zigzag(number - last));
        last = number;
        account.add(value.len(), body)?;
    }
    account.pays(body).then_some(())
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
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        Some(number * 10 + sign * digit)
    })
}

fn digits<'a>(
    body: &mut Vec<u8>,
    mut values: impl Iterator<Item = &'a [u8]> + Clone,
) -> Option<()> {
    let first = values.clone().next()?;
    let digit_count = first.iter().filter(|byte| byte.is_ascii_digit()).count();
    if first.len() > PATTERN_LEN_MAX {
        return None;
    }
    number::put_section(body, first);
    match digit_count {
        // Most have so few, and the longer type is slower.
        1..=18 => differences::<i64>(body, first, digit_count, &mut values),
        19..=DIGITS_MAX => differences::<i128>(body, first, digit_count, &mut values),
        _ => None,
    }
}

fn differences<'a, N: Number>(
    body: &mut Vec<u8>,
    first: &[u8],
    digit_count: usize,
    values: &mut impl Iterator<Item = &'a [u8]>,
) -> Option<()> {
    let mut last: N = read_digits(first, first)?;
    let mut account = Account::default();
    for value in values {
        let number: N = read_digits(value, first)?;
        let difference: i64 = (number - last).try_into().ok()?;
        number::put(body, number::zigzag(difference));
        last = number;
        account.add(digit_count, body)?;
    }
    account.pays(body).then_some(())
}

/// What holds the digits of a value.
trait Number:
    Copy + From<u8> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + TryInto<i64>
{
}

impl Number for i64 {}
impl Number for i128 {}

/// The digits of a value as one number, if it has digits where `like` has, and else the same bytes.
fn read_digits<N: Number>(value: &[u8], like: &[u8]) -> Option<N> {
    if value.len() != like.len() {
        return None;
    }
    let mut number = N::from(0);
    for (byte, like) in value.iter().zip(like) {
        if like.is_ascii_digit() {
            let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
            number = number * N::from(10) + N::from(digit);
        } else if byte != like {
            return None;
        }
    }
    Some(number)
}

fn hex<'a>(body: &mut Vec<u8>, mut values: impl Iterator<Item = &'a [u8]> + Clone) -> Option<()> {
    let first = values.clone().next()?;
    if first.len() > PATTERN_LEN_MAX {
        return None;
    }
    let place = |byte: &u8| match NIBBLES[usize::from(*byte)] {
        NO_NIBBLE => *byte,
        _ => b'0',
    };
    let pattern: Vec<u8> = first.iter().map(place).collect();
    if pattern.iter().filter(|byte| **byte == b'0').count() < HEX_DIGITS_MIN {
        return None;
    }
    number::put_section(body, &pattern);
    values.try_for_each(|value| put_hex(body, value, &pattern))
}

/// The digits of a value, two a byte.
fn put_hex(body: &mut Vec<u8>, value: &[u8], pattern: &[u8]) -> Option<()> {
    if value.len() != pattern.len() {
        return None;
    }
    // Without a way out in the middle it takes a third of the time.
    let (mut nibbles, mut count, mut is_like) = ([0; PATTERN_LEN_MAX], 0, true);
    for (byte, place) in value.iter().zip(pattern) {
        if *place == b'0' {
            let nibble = NIBBLES[usize::from(*byte)];
            is_like &= nibble != NO_NIBBLE;
            nibbles[count] = nibble;
            count += 1;
        } else {
            is_like &= byte == place;
        }
    }
    let pair = |pair: &[u8]| pair[0] << 4 | pair.get(1).unwrap_or(&0);
    body.extend(nibbles[..count].chunks(2).map(pair));
    is_like.then_some(())
}

const NO_NIBBLE: u8 = 0xff;

/// What each byte is as a hexadecimal digit.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_NIBBLE; 256];
    let mut nibble = 0;
    while nibble < 16 {
        nibbles[HEX_DIGITS[nibble] as usize] = nibble as u8;
        nibble += 1;
    }
    nibbles
};
