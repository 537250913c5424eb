//! From a plain body to a shaped one.

use std::collections::HashMap;
use std::ops::Range;

use super::template::{Kind, Template};
use super::text::Parts;
use super::{RECORDS_MIN, TEMPLATES_MAX, column, number};
use crate::batch::{FLAG_SAME_SUBJECT, FLAG_TIME_ABSOLUTE};
use crate::error::DecodeError;
use crate::limits::{PLAIN_LEN_MAX, SUBJECT_LEN_MAX};
use crate::wire::Reader;

/// Templates that a text is compared with before it is taken apart.
const RECENT_MAX: usize = 4;

/// Shapes batches; each stands alone. What it holds from one to the next is memory.
#[derive(Debug, Default)]
pub(crate) struct Shaper {
    marks: Vec<u8>,
    times: Vec<u8>,
    subjects: Vec<u8>,
    raws: Vec<u8>,
    /// Where values stand in the plain body, text by text.
    values: Vec<Range<u32>>,
    groups: Vec<Group>,
    known: HashMap<Vec<u8>, usize>,
    /// Groups of the last headers and payloads, the latest first.
    recent: [Vec<usize>; 2],
    parts: Parts,
    records: usize,
    raw_payloads: usize,
    column: Vec<u8>,
    shaped: Vec<u8>,
}

/// Texts that have a template in common.
#[derive(Debug)]
struct Group {
    template: Template,
    /// Where the values of each text begin in [`Shaper::values`].
    rows: Vec<u32>,
}

impl Shaper {
    /// The shaped form of a plain body, or `None` where that is not likely to pay: too few records, or texts
    /// that have little in common.
    pub(crate) fn shape(&mut self, plain: &[u8], record_count: u32) -> Option<&[u8]> {
        if record_count < RECORDS_MIN || plain.len() > PLAIN_LEN_MAX {
            return None;
        }
        self.clear();
        let mut reader = Reader::new(plain);
        for _ in 0..record_count {
            self.take(&mut reader, plain).ok()?;
            if self.is_futile() {
                return None;
            }
        }
        reader.finish().ok()?;
        self.put(plain);
        (self.shaped.len() < plain.len()).then_some(&self.shaped)
    }

    /// Bytes of memory that it holds, about.
    pub(crate) fn memory(&self) -> usize {
        let parts = [&self.marks, &self.times, &self.subjects, &self.raws];
        let parts = parts.into_iter().chain([&self.column, &self.shaped]);
        let rows = self.groups.iter().map(|group| group.rows.capacity() * 4);
        let values = self.values.capacity() * size_of::<Range<u32>>();
        parts.map(Vec::capacity).sum::<usize>() + rows.sum::<usize>() + values
    }

    fn clear(&mut self) {
        let parts = [
            &mut self.marks,
            &mut self.times,
            &mut self.subjects,
            &mut self.raws,
        ];
        parts.into_iter().for_each(Vec::clear);
        self.values.clear();
        self.groups.clear();
        self.known.clear();
        self.recent.iter_mut().for_each(Vec::clear);
        (self.records, self.raw_payloads) = (0, 0);
    }

    /// Takes the next record of the plain body.
    fn take(&mut self, reader: &mut Reader<'_>, plain: &[u8]) -> Result<(), DecodeError> {
        let flags = reader.u8("flags")?;
        self.marks.push(flags);
        number::put(&mut self.marks, reader.varint("seq")?);
        if flags & FLAG_TIME_ABSOLUTE != 0 {
            self.times.extend_from_slice(reader.take(8, "stored_at")?);
        } else {
            number::put(&mut self.times, reader.varint("stored_at")?);
        }
        let subject_len = match flags & FLAG_SAME_SUBJECT {
            0 => reader.len(SUBJECT_LEN_MAX, "subject")?,
            _ => 0,
        };
        let headers_len = reader.len(PLAIN_LEN_MAX, "headers")?;
        let payload_len = reader.len(PLAIN_LEN_MAX, "payload")?;
        if flags & FLAG_SAME_SUBJECT == 0 {
            number::put(&mut self.marks, subject_len as u64);
        }
        let subject = reader.take(subject_len, "subject")?;
        self.subjects.extend_from_slice(subject);

        let headers_at = reader.offset();
        reader.take(headers_len, "headers")?;
        let payload_at = reader.offset();
        reader.take(payload_len, "payload")?;
        self.put_text(Kind::Headers, plain, headers_at..payload_at);
        if !self.put_text(Kind::Json, plain, payload_at..reader.offset()) {
            self.raw_payloads += 1;
        }
        self.records += 1;
        Ok(())
    }

    /// A text by its template, if it has one and there is room for it; else raw.
    fn put_text(&mut self, kind: Kind, plain: &[u8], at: Range<usize>) -> bool {
        let (row, text) = (self.values.len() as u32, &plain[at.clone()]);
        let group = self
            .find_recent(kind, text, at.start)
            .or_else(|| self.take_apart(kind, text, at.start));
        let Some(group) = group else {
            number::put(&mut self.marks, 0);
            number::put(&mut self.marks, text.len() as u64);
            self.raws.extend_from_slice(text);
            return false;
        };
        number::put(&mut self.marks, group as u64 + 1);
        self.groups[group].rows.push(row);
        true
    }

    /// The group of a text shortly before it that it belongs to, too; its values are noted.
    fn find_recent(&mut self, kind: Kind, text: &[u8], start: usize) -> Option<usize> {
        if text.is_empty() {
            return None;
        }
        let row = self.values.len();
        let recent = &mut self.recent[kind as usize];
        let place = recent.iter().position(|group| {
            let put = |at: Range<usize>| self.values.push(span(start, &at));
            let found = self.groups[*group].template.find(kind, text, put).is_some();
            if !found {
                self.values.truncate(row);
            }
            found
        })?;
        recent[..=place].rotate_right(1);
        recent.first().copied()
    }

    /// The group of a text that is taken apart for it; its values are noted.
    fn take_apart(&mut self, kind: Kind, text: &[u8], start: usize) -> Option<usize> {
        if !self.parts.take(kind, text) {
            return None;
        }
        let group = match self.known.get(&self.parts.template) {
            Some(group) => *group,
            None => self.learn()?,
        };
        let spans = self.parts.values.iter().map(|at| span(start, at));
        self.values.extend(spans);
        let recent = &mut self.recent[kind as usize];
        recent.truncate(RECENT_MAX - 1);
        recent.insert(0, group);
        Some(group)
    }

    /// The template of `parts` is new: a group of its own.
    fn learn(&mut self) -> Option<usize> {
        let group = self.groups.len();
        if group == TEMPLATES_MAX {
            return None;
        }
        self.known.insert(self.parts.template.clone(), group);
        self.groups.push(Group {
            template: Template::new(&self.parts.template),
            rows: Vec::new(),
        });
        Some(group)
    }

    /// Whether most of what came so far has no template in common.
    fn is_futile(&self) -> bool {
        let begun = self.records >= 2 * RECORDS_MIN as usize;
        let groups_max = RECORDS_MIN as usize + self.records / 4;
        begun && (self.raw_payloads * 2 > self.records || self.groups.len() > groups_max)
    }

    /// Puts all together.
    fn put(&mut self, plain: &[u8]) {
        let out = &mut self.shaped;
        out.clear();
        number::put(out, self.groups.len() as u64);
        for group in &self.groups {
            number::put_section(out, &group.template.text);
        }
        for part in [&self.marks, &self.times, &self.subjects, &self.raws] {
            number::put_section(out, part);
        }
        for group in &self.groups {
            for slot in 0..group.template.slot_count() {
                let values = group.rows.iter().map(|row| {
                    let at = &self.values[*row as usize + slot];
                    &plain[at.start as usize..at.end as usize]
                });
                column::put(out, &mut self.column, values);
            }
        }
    }
}

/// Where a value of a text stands in the plain body, whose length fits 32 bits.
fn span(start: usize, at: &Range<usize>) -> Range<u32> {
    (start + at.start) as u32..(start + at.end) as u32
}
