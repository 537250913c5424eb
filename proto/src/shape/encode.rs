//! From a plain body to a shaped one.

use std::collections::HashMap;

use super::text::Parts;
use super::{RECORDS_MIN, TEMPLATES_MAX, column, number};
use crate::batch::{FLAG_SAME_SUBJECT, FLAG_TIME_ABSOLUTE};
use crate::error::DecodeError;
use crate::limits::{PLAIN_LEN_MAX, SUBJECT_LEN_MAX};
use crate::wire::Reader;

/// The shaped form of a plain body, or `None` where that is not likely to pay: too few records, or texts
/// that have little in common.
pub(crate) fn shape(plain: &[u8], record_count: u32) -> Option<Vec<u8>> {
    if record_count < RECORDS_MIN {
        return None;
    }
    let mut shaper = Shaper::default();
    let mut reader = Reader::new(plain);
    for _ in 0..record_count {
        shaper.take(&mut reader).ok()?;
        if shaper.is_futile() {
            return None;
        }
    }
    reader.finish().ok()?;
    let shaped = shaper.finish();
    (shaped.len() < plain.len()).then_some(shaped)
}

#[derive(Debug)]
struct Template<'a> {
    text: Vec<u8>,
    columns: Vec<Vec<&'a [u8]>>,
}

#[derive(Debug, Default)]
struct Shaper<'a> {
    marks: Vec<u8>,
    times: Vec<u8>,
    subjects: Vec<u8>,
    raws: Vec<u8>,
    templates: Vec<Template<'a>>,
    known: HashMap<Vec<u8>, usize>,
    parts: Parts,
    records: usize,
    raw_payloads: usize,
}

impl<'a> Shaper<'a> {
    /// Takes the next record of the plain body.
    fn take(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
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

        let headers = reader.take(headers_len, "headers")?;
        let is_shaped = self.parts.take_headers(headers);
        self.put_text(headers, is_shaped);
        let payload = reader.take(payload_len, "payload")?;
        let is_shaped = self.parts.take_json(payload);
        if !self.put_text(payload, is_shaped) {
            self.raw_payloads += 1;
        }
        self.records += 1;
        Ok(())
    }

    /// A text by its template, if it has one and there is room for it; else raw.
    fn put_text(&mut self, text: &'a [u8], is_shaped: bool) -> bool {
        let template = is_shaped.then(|| self.template()).flatten();
        let Some(index) = template else {
            number::put(&mut self.marks, 0);
            number::put(&mut self.marks, text.len() as u64);
            self.raws.extend_from_slice(text);
            return false;
        };
        number::put(&mut self.marks, index as u64 + 1);
        let columns = &mut self.templates[index].columns;
        for (column, at) in columns.iter_mut().zip(&self.parts.values) {
            column.push(&text[at.clone()]);
        }
        true
    }

    /// The number of the template of `parts`.
    fn template(&mut self) -> Option<usize> {
        if let Some(index) = self.known.get(&self.parts.template) {
            return Some(*index);
        }
        let index = self.templates.len();
        if index == TEMPLATES_MAX {
            return None;
        }
        self.known.insert(self.parts.template.clone(), index);
        self.templates.push(Template {
            text: self.parts.template.clone(),
            columns: vec![Vec::new(); self.parts.values.len()],
        });
        Some(index)
    }

    /// Whether most of what came so far has no form in common.
    fn is_futile(&self) -> bool {
        let begun = self.records >= 2 * RECORDS_MIN as usize;
        let templates_max = RECORDS_MIN as usize + self.records / 4;
        begun && (self.raw_payloads * 2 > self.records || self.templates.len() > templates_max)
    }

    fn finish(self) -> Vec<u8> {
        let parts = [&self.marks, &self.times, &self.subjects, &self.raws];
        let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() * 2).sum());
        number::put(&mut out, self.templates.len() as u64);
        for template in &self.templates {
            number::put_section(&mut out, &template.text);
        }
        for part in parts {
            number::put_section(&mut out, part);
        }
        for values in self.templates.iter().flat_map(|template| &template.columns) {
            column::put(&mut out, values);
        }
        out
    }
}
