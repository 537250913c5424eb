//! Numbers and bytes as the header writes them: one spelling each, so that equal names are equal text.

use bytes::{BufMut, BytesMut};

use super::InvalidProvenance;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Appends `number` in lower case, without leading zeros.
pub(crate) fn put_number(mut number: u64, radix: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = DIGITS[(number % radix) as usize];
        number /= radix;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

pub(super) fn put_hex(number: u64, out: &mut BytesMut) {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (60 - 4 * place) & 15) as usize];
    }
    out.put_slice(&digits);
}

/// Appends `id` escaped, and tells how long that is.
pub(super) fn put_escaped(id: &[u8], out: &mut BytesMut) -> usize {
    let before = out.len();
    for byte in id {
        if byte.is_ascii_graphic() && *byte != b'%' {
            out.put_u8(*byte);
        } else {
            let (high, low) = (
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            );
            out.put_slice(&[b'%', high, low]);
        }
    }
    out.len() - before
}

/// Reads what [`put_number`] writes, and nothing else.
pub(super) fn parse_number(text: &[u8], radix: u64) -> Result<u64, InvalidProvenance> {
    if text.is_empty() || (text.len() > 1 && text[0] == b'0') {
        return Err(InvalidProvenance);
    }
    let mut number = 0u64;
    for byte in text {
        let digit = digit(*byte)
            .filter(|digit| *digit < radix)
            .ok_or(InvalidProvenance)?;
        number = number
            .checked_mul(radix)
            .and_then(|number| number.checked_add(digit))
            .ok_or(InvalidProvenance)?;
    }
    Ok(number)
}

pub(super) fn parse_hash(text: &[u8]) -> Result<u64, InvalidProvenance> {
    if text.len() != 16 {
        return Err(InvalidProvenance);
    }
    text.iter().try_fold(0, |number, byte| {
        let digit = digit(*byte)
            .filter(|digit| *digit < 16)
            .ok_or(InvalidProvenance)?;
        Ok(number << 4 | digit)
    })
}

fn digit(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some(u64::from(byte - b'0')),
        b'a'..=b'z' => Some(u64::from(byte - b'a') + 10),
        _ => None,
    }
}
