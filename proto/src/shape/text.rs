//! Takes a text apart: its template, and the values in the slots.
//!
//! No parser: whether a text is valid JSON does not matter, only that the same bytes come back. So it is
//! enough to tell strings, which follow a key, from keys, which a colon follows, and bare words (numbers,
//! `true`, `null`) from punctuation.

use std::ops::Range;

use super::{SLOT, SLOTS_MAX};

/// A text taken apart. Reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The text with a [`SLOT`] for each value.
    pub(super) template: Vec<u8>,
    /// Where the values stand in the text. None holds a line feed.
    pub(super) values: Vec<Range<usize>>,
}

impl Parts {
    fn clear(&mut self) {
        self.template.clear();
        self.values.clear();
    }

    fn value(&mut self, at: Range<usize>) -> bool {
        self.template.push(SLOT);
        self.values.push(at);
        self.values.len() <= SLOTS_MAX
    }

    /// Takes a JSON text apart; `false` leaves it raw.
    pub(super) fn take_json(&mut self, text: &[u8]) -> bool {
        self.clear();
        let first = text.iter().find(|byte| !is_space(**byte));
        if !matches!(first, Some(b'{' | b'[')) {
            return false;
        }
        let mut at = 0;
        while at < text.len() {
            let end = match text[at] {
                b'"' => self.take_string(text, at),
                byte if is_word(byte) => {
                    let len = text[at..].iter().take_while(|byte| is_word(**byte)).count();
                    self.value(at..at + len).then_some(at + len)
                }
                byte if byte < b' ' && !is_space(byte) => None,
                byte => {
                    self.template.push(byte);
                    Some(at + 1)
                }
            };
            let Some(end) = end else { return false };
            at = end;
        }
        true
    }

    /// A string that begins at `at`: a key goes to the template, any other is a value. Where it ends.
    fn take_string(&mut self, text: &[u8], at: usize) -> Option<usize> {
        let inside = at + 1;
        let end = string_end(text, inside)?;
        if text[inside..end].iter().any(|byte| *byte < b' ') {
            return None;
        }
        let next = text[end..].iter().skip(1).find(|byte| !is_space(**byte));
        if next == Some(&b':') {
            self.template.extend_from_slice(&text[at..=end]);
            return Some(end + 1);
        }
        self.template.push(b'"');
        let has_room = self.value(inside..end);
        self.template
            .extend_from_slice(&text[end..text.len().min(end + 1)]);
        has_room.then_some(end + 1)
    }

    /// Takes a header block apart: the names are its template. `false` leaves it raw.
    pub(super) fn take_headers(&mut self, block: &[u8]) -> bool {
        self.clear();
        if block.is_empty() || block.contains(&SLOT) {
            return false;
        }
        let mut at = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            let line = &block[at..end];
            if !line.ends_with(b"\r") {
                return false;
            }
            match memchr::memchr(b':', line) {
                Some(colon) => {
                    let space = usize::from(line.get(colon + 1) == Some(&b' '));
                    let value = at + colon + 1 + space;
                    self.template.extend_from_slice(&block[at..value]);
                    if !self.value(value..end - 1) {
                        return false;
                    }
                    self.template.extend_from_slice(b"\r\n");
                }
                None => self.template.extend_from_slice(&block[at..=end]),
            }
            at = end + 1;
        }
        at == block.len()
    }
}

/// Where the string that begins at `at` ends: its quote, or the end of the text that was cut in it.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match memchr::memchr2(b'"', b'\\', text.get(at..)?) {
            None => return Some(text.len()),
            Some(found) if text[at + found] == b'"' => return Some(at + found),
            Some(found) => at += found + 2,
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A byte of a number, or of `true`, `false`, `null`.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}
