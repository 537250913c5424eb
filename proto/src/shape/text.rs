//! Takes a text apart: its template, and the values in the slots.
//!
//! No parser: whether a text is valid JSON does not matter, only that the same bytes come back. So it is
//! enough to tell strings, which follow a key, from keys, which a colon follows, and bare words (numbers,
//! `true`, `null`) from punctuation.

use std::ops::Range;

use super::template::Kind;
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

    /// Takes a text apart; `false` leaves it raw.
    pub(super) fn take(&mut self, kind: Kind, text: &[u8]) -> bool {
        match kind {
            Kind::Headers => self.take_headers(text),
            Kind::Json => self.take_json(text),
        }
    }

    fn take_json(&mut self, text: &[u8]) -> bool {
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
                    let end = at + word_len(&text[at..]);
                    self.value(at..end).then_some(end)
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

    /// The names of a header block are its template.
    fn take_headers(&mut self, block: &[u8]) -> bool {
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

/// Where the string ends whose content begins at `at`: its quote, or the end of the text that was cut in it. `None` if it
/// holds a control character, as no string does, or ends in a backslash.
pub(super) fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += ordinary_len(text.get(at..)?);
        match text.get(at) {
            None | Some(b'"') => return Some(at),
            Some(b'\\') if text.get(at + 1).is_none_or(|byte| *byte >= b' ') => at += 2,
            Some(_) => return None,
        }
    }
}

/// Bytes before the first quote, backslash or control character, eight at a time.
fn ordinary_len(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let mut len = 0;
    for chunk in text.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        // The high bit of each byte that is below `bound`, and perhaps of some above the first such byte.
        let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = (is(b'"') | is(b'\\') | below(word, b' ')) & HIGH;
        if found != 0 {
            return len + found.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let rest = text[len..].iter();
    len + rest
        .take_while(|byte| **byte >= b' ' && !matches!(byte, b'"' | b'\\'))
        .count()
}

/// Bytes of the bare word that a text begins with: a number, or `true`, `false`, `null`.
pub(super) fn word_len(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_word(**byte)).count()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}
