//! From a shaped body back to the plain one.

use super::column::Cursor;
use super::template::pieces;
use super::{SLOTS_MAX, TEMPLATES_MAX, number};
use crate::batch::{FLAG_SAME_SUBJECT, FLAG_TIME_ABSOLUTE};
use crate::error::DecodeError;
use crate::limits::{DECODE_STEP, VARINT_MAX};
use crate::wire::{Reader, put_varint};

/// The plain body of `plain_len` bytes, from its shaped form. Whatever the bytes say, it takes no more memory than
/// that, as much again for the texts of one record, and a place for each of [`TEMPLATES_MAX`] templates and their
/// [`SLOTS_MAX`] slots that the bytes name; whether the records are sound is for the batch to judge.
pub(crate) fn unshape(
    shaped: &[u8],
    plain_len: u32,
    record_count: u32,
) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(shaped);
    let mut unshaper = Unshaper::begin(&mut reader)?;
    reader.finish()?;
    unshaper.room = plain_len as usize;
    let mut plain = Vec::with_capacity((plain_len as usize).min(DECODE_STEP));
    let mismatch = DecodeError::PlainLenMismatch {
        declared: plain_len,
    };
    for _ in 0..record_count {
        unshaper.record(&mut plain)?;
        if plain.len() > plain_len as usize {
            return Err(mismatch);
        }
    }
    unshaper.finish()?;
    if plain.len() == plain_len as usize {
        Ok(plain)
    } else {
        Err(mismatch)
    }
}

struct Template<'a> {
    first: &'a [u8],
    /// Each slot's values, and what stands behind it.
    slots: Vec<(Cursor<'a>, &'a [u8])>,
}

impl<'a> Template<'a> {
    /// With its columns, which begin at the reader's front.
    fn begin(text: &'a [u8], reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut pieces = pieces(text);
        let first = pieces.next().unwrap_or(&[]);
        let mut slots = Vec::new();
        for piece in pieces {
            if slots.len() == SLOTS_MAX {
                let (field, value) = ("slots", SLOTS_MAX as u64 + 1);
                return Err(DecodeError::OutOfRange { field, value });
            }
            slots.push((Cursor::begin(reader)?, piece));
        }
        Ok(Self { first, slots })
    }
}

struct Unshaper<'a> {
    templates: Vec<Template<'a>>,
    marks: Reader<'a>,
    times: Reader<'a>,
    subjects: Reader<'a>,
    raws: Reader<'a>,
    /// Headers and payload of the record under way.
    texts: Vec<u8>,
    /// Bytes that these may take.
    room: usize,
}

impl<'a> Unshaper<'a> {
    fn begin(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = number::take_len(reader, TEMPLATES_MAX, "templates")?;
        let texts: Result<Vec<_>, _> = (0..count)
            .map(|_| number::take_section(reader, "template"))
            .collect();
        let [marks, times, subjects, raws] = ["marks", "times", "subjects", "raws"]
            .map(|part| number::take_section(reader, part).map(Reader::new));
        let mut unshaper = Self {
            templates: Vec::with_capacity(count),
            marks: marks?,
            times: times?,
            subjects: subjects?,
            raws: raws?,
            texts: Vec::new(),
            room: 0,
        };
        for text in texts? {
            unshaper.templates.push(Template::begin(text, reader)?);
        }
        Ok(unshaper)
    }

    /// Appends the next record to the plain body.
    fn record(&mut self, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        let flags = self.marks.u8("flags")?;
        plain.push(flags);
        put_checked(plain, number::take(&mut self.marks, "seq")?, "seq")?;
        if flags & FLAG_TIME_ABSOLUTE != 0 {
            plain.extend_from_slice(self.times.take(8, "stored_at")?);
        } else {
            let difference = number::take(&mut self.times, "stored_at")?;
            put_checked(plain, difference, "stored_at")?;
        }
        let mut subject: &[u8] = &[];
        if flags & FLAG_SAME_SUBJECT == 0 {
            let left = self.subjects.remaining();
            let len = number::take_len(&mut self.marks, left, "subject")?;
            subject = self.subjects.take(len, "subject")?;
            put_varint(plain, len as u64);
        }
        self.texts.clear();
        self.text()?;
        let headers_len = self.texts.len();
        self.text()?;
        put_varint(plain, headers_len as u64);
        put_varint(plain, (self.texts.len() - headers_len) as u64);
        plain.extend_from_slice(subject);
        plain.extend_from_slice(&self.texts);
        Ok(())
    }

    /// Appends the next text of the record: its template with the slots filled, or raw bytes.
    fn text(&mut self) -> Result<(), DecodeError> {
        let known = self.templates.len();
        let index = number::take_len(&mut self.marks, known, "template number")?;
        let Some(index) = index.checked_sub(1) else {
            let len = number::take_len(&mut self.marks, self.raws.remaining(), "raw text")?;
            self.texts
                .extend_from_slice(self.raws.take(len, "raw text")?);
            return Ok(());
        };
        let Template { first, slots } = &mut self.templates[index];
        self.texts.extend_from_slice(first);
        for (column, piece) in slots {
            column.take(&mut self.texts)?;
            self.texts.extend_from_slice(piece);
            if self.texts.len() > self.room {
                return Err(DecodeError::PlainLenMismatch {
                    declared: u32::try_from(self.room).unwrap_or(u32::MAX),
                });
            }
        }
        Ok(())
    }

    /// Refuses what is left over.
    fn finish(self) -> Result<(), DecodeError> {
        for part in [self.marks, self.times, self.subjects, self.raws] {
            part.finish()?;
        }
        let mut slots = self.templates.into_iter().flat_map(|it| it.slots);
        slots.try_for_each(|(column, _)| column.finish())
    }
}

fn put_checked(plain: &mut Vec<u8>, value: u64, field: &'static str) -> Result<(), DecodeError> {
    if value > VARINT_MAX {
        return Err(DecodeError::OutOfRange { field, value });
    }
    put_varint(plain, value);
    Ok(())
}
