//! From a shaped body back to the plain one.

use super::column::Cursor;
use super::{SLOT, SLOTS_MAX, TEMPLATES_MAX, number};
use crate::batch::{FLAG_SAME_SUBJECT, FLAG_TIME_ABSOLUTE};
use crate::error::DecodeError;
use crate::limits::{DECODE_STEP, VARINT_MAX};
use crate::wire::{Reader, put_varint};

/// The plain body of `plain_len` bytes, from its shaped form. It takes no more memory than that, whatever
/// the bytes say; whether the records are sound is for the batch to judge.
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
    text: &'a [u8],
    columns: Vec<Cursor<'a>>,
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
            let slots = memchr::memchr_iter(SLOT, text).count();
            if slots > SLOTS_MAX {
                return Err(DecodeError::OutOfRange {
                    field: "slots",
                    value: slots as u64,
                });
            }
            let columns: Result<_, _> = (0..slots).map(|_| Cursor::begin(reader)).collect();
            unshaper.templates.push(Template {
                text,
                columns: columns?,
            });
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
        let Template { text, columns } = &mut self.templates[index];
        let mut pieces = text.split(|byte| *byte == SLOT);
        self.texts.extend_from_slice(pieces.next().unwrap_or(&[]));
        for (column, piece) in columns.iter_mut().zip(pieces) {
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
        let columns = self.templates.into_iter().flat_map(|t| t.columns);
        columns.into_iter().try_for_each(Cursor::finish)
    }
}

fn put_checked(plain: &mut Vec<u8>, value: u64, field: &'static str) -> Result<(), DecodeError> {
    if value > VARINT_MAX {
        return Err(DecodeError::OutOfRange { field, value });
    }
    put_varint(plain, value);
    Ok(())
}
