//! Reading and writing the elements of the wire: fixed numbers, varints, bytes, texts, names.
//!
//! Numbers that grow from zero are varints as in RFC 9000 section 16, of which only the shortest form
//! is accepted; hashes, clock readings and other evenly spread numbers are fixed and big-endian. So
//! every value has exactly one encoding. [`Reader`] never reads past its bytes, never panics, and its
//! [`finish`](Reader::finish) refuses what is left over.

use bytes::BufMut;

use crate::error::{DecodeError, EncodeError};
use crate::id::InvalidName;
use crate::limits::VARINT_MAX;

/// Reads from the front of a byte slice, with every read checked.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Refuses trailing bytes: whoever decodes a whole ends with this.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }

    #[inline]
    pub(crate) fn take(
        &mut self,
        len: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let truncated = DecodeError::Truncated {
            field,
            offset: self.offset,
        };
        let end = self.offset.checked_add(len).ok_or(truncated)?;
        let taken = self.bytes.get(self.offset..end).ok_or(truncated)?;
        self.offset = end;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A varint: the two high bits of the first byte give its length, 1, 2, 4 or 8 bytes.
    #[inline]
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let offset = self.offset;
        let (value, least) = match self.bytes.get(offset).map(|first| first >> 6) {
            None => return Err(DecodeError::Truncated { field, offset }),
            Some(0) => return self.u8(field).map(u64::from),
            Some(1) => (u64::from(self.u16(field)? & 0x3fff), 1 << 6),
            Some(2) => (u64::from(self.u32(field)? & 0x3fff_ffff), 1 << 14),
            Some(_) => (self.u64(field)? & VARINT_MAX, 1 << 30),
        };
        if value < least {
            return Err(DecodeError::NotMinimal { field, offset });
        }
        Ok(value)
    }

    /// A varint whose value fits 32 bits.
    #[inline]
    pub(crate) fn varint_u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let value = self.varint(field)?;
        u32::try_from(value).map_err(|_| DecodeError::OutOfRange { field, value })
    }

    /// A varint length of at most `max`, checked before anything is taken.
    #[inline]
    pub(crate) fn len(&mut self, max: usize, field: &'static str) -> Result<usize, DecodeError> {
        let len = self.varint(field)?;
        match usize::try_from(len) {
            Ok(fits) if fits <= max => Ok(fits),
            _ => Err(DecodeError::TooLong {
                field,
                len,
                max: max as u64,
            }),
        }
    }

    /// A text: varint length, then that many bytes of UTF-8.
    pub(crate) fn text(&mut self, max: usize, field: &'static str) -> Result<&'a str, DecodeError> {
        let len = self.len(max, field)?;
        std::str::from_utf8(self.take(len, field)?).map_err(|_| DecodeError::NotUtf8 { field })
    }

    /// A name: a text that `parse` accepts.
    pub(crate) fn name<T>(
        &mut self,
        max: usize,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, InvalidName>,
    ) -> Result<T, DecodeError> {
        let text = self.text(max, field)?;
        parse(text).map_err(|why| DecodeError::InvalidName { field, why })
    }
}

/// Appends a varint. The caller has checked the value against [`VARINT_MAX`], see [`checked`].
#[inline]
pub(crate) fn put_varint(out: &mut impl BufMut, value: u64) {
    debug_assert!(value <= VARINT_MAX, "checked by the caller");
    if value < 1 << 6 {
        out.put_u8(value as u8);
    } else if value < 1 << 14 {
        out.put_u16(value as u16 | 1 << 14);
    } else if value < 1 << 30 {
        out.put_u32(value as u32 | 2 << 30);
    } else {
        out.put_u64(value | 3 << 62);
    }
}

/// Passes on a value that a varint can carry.
#[inline]
pub(crate) fn checked(value: u64, field: &'static str) -> Result<u64, EncodeError> {
    if value <= VARINT_MAX {
        Ok(value)
    } else {
        Err(EncodeError::OutOfRange { field, value })
    }
}

/// Appends a varint, or refuses one that is too large.
pub(crate) fn write_varint(
    out: &mut impl BufMut,
    value: u64,
    field: &'static str,
) -> Result<(), EncodeError> {
    put_varint(out, checked(value, field)?);
    Ok(())
}

/// Appends a text of at most `max` bytes, or refuses it.
pub(crate) fn write_text(
    out: &mut impl BufMut,
    text: &str,
    max: usize,
    field: &'static str,
) -> Result<(), EncodeError> {
    if text.len() > max {
        return Err(EncodeError::TooLong {
            field,
            len: text.len(),
            max,
        });
    }
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varint_bytes(value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        bytes
    }

    #[test]
    fn varints_of_rfc_9000_appendix_a() {
        let vectors: [(&[u8], u64); 4] = [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, value) in vectors {
            assert_eq!(Reader::new(bytes).varint("v"), Ok(value));
            assert_eq!(varint_bytes(value), bytes);
        }
    }

    #[test]
    fn a_varint_has_one_form() {
        for long in [
            &[0x40, 0x25][..],
            &[0x80, 0, 0, 1],
            &[0xc0, 0, 0, 0, 0, 0, 0x40, 0],
        ] {
            let refused = Reader::new(long).varint("v");
            assert_eq!(
                refused,
                Err(DecodeError::NotMinimal {
                    field: "v",
                    offset: 0
                })
            );
        }
    }

    #[test]
    fn a_varint_has_62_bits() {
        assert_eq!(Reader::new(&[0xff; 8]).varint("v"), Ok(VARINT_MAX));
        assert_eq!(varint_bytes(VARINT_MAX), [0xff; 8]);
        assert!(write_varint(&mut Vec::new(), VARINT_MAX + 1, "v").is_err());
    }

    #[test]
    fn a_length_is_checked_before_it_is_taken() {
        let refused = Reader::new(&[0xff; 8]).text(256, "detail");
        let expected = DecodeError::TooLong {
            field: "detail",
            len: VARINT_MAX,
            max: 256,
        };
        assert_eq!(refused, Err(expected));
    }

    #[test]
    fn finish_refuses_what_is_left() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u8("first"), Ok(1));
        assert_eq!(
            reader.finish(),
            Err(DecodeError::TrailingBytes { count: 2 })
        );
    }

    proptest! {
        #[test]
        fn varints_round_trip(value in 0..=VARINT_MAX, shift in 0u32..62) {
            let value = value >> shift;
            let bytes = varint_bytes(value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint("v"), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
            for cut in 0..bytes.len() {
                let truncated = Reader::new(&bytes[..cut]).varint("v");
                prop_assert_eq!(truncated, Err(DecodeError::Truncated { field: "v", offset: 0 }));
            }
        }
    }
}
