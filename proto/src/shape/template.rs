//! A text without its values, and where other texts of the same template have theirs.

use std::ops::Range;

use super::SLOT;
use super::text::{string_end, word_len};

/// What a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A NATS header block.
    Headers,
    /// JSON, more or less.
    Json,
}

/// A text with a [`SLOT`] for each value.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) text: Vec<u8>,
    /// What stands between the slots, before the first and behind the last.
    pieces: Vec<Range<usize>>,
}

impl Template {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut at = 0;
        let piece = |len: usize| {
            let begin = at;
            at += len + 1;
            begin..begin + len
        };
        Self {
            text: text.to_vec(),
            pieces: pieces(text).map(<[u8]>::len).map(piece).collect(),
        }
    }

    pub(super) fn slot_count(&self) -> usize {
        self.pieces.len() - 1
    }

    /// Where a text of this template has its values, told to `put` one by one; `None` if it has another one, which may
    /// show only after some values. None of them holds a line feed.
    ///
    /// Most texts have the template of one shortly before, and to compare is faster than to take apart.
    pub(super) fn find(
        &self,
        kind: Kind,
        text: &[u8],
        mut put: impl FnMut(Range<usize>),
    ) -> Option<()> {
        let mut at = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                let end = match kind {
                    Kind::Headers => line_end(text, at)?,
                    Kind::Json if at > 0 && text[at - 1] == b'"' => string_end(text, at)?,
                    Kind::Json => at + word_len(&text[at..]),
                };
                put(at..end);
                at = end;
            }
            let piece = &self.text[piece.clone()];
            if !text[at..].starts_with(piece) {
                return None;
            }
            at += piece.len();
        }
        (at == text.len()).then_some(())
    }
}

/// What stands between the slots of a template, before the first and behind the last.
pub(super) fn pieces(template: &[u8]) -> impl Iterator<Item = &[u8]> {
    template.split(|byte| *byte == SLOT)
}

/// Where the value of a header ends, which begins at `at`.
fn line_end(text: &[u8], at: usize) -> Option<usize> {
    let feed = at + memchr::memchr(b'\n', &text[at..])?;
    feed.checked_sub(1).filter(|end| *end >= at)
}
