//! The same records in columns: what a batch says again and again is said once, and like stands by like.
//!
//! Events are mostly their own form: the keys of a JSON object, the names of headers. zstd finds that, but
//! pays for every reference, and its statistics mix the digits of a clock with the letters of a name. So a
//! text is taken apart into a template and the values in its slots ([`text`]); each template stands once
//! in a batch, and the values of a slot stand together as a column ([`column`]): numbers as differences,
//! hexadecimal as bits. On events this saves a fifth to two fifths of what zstd alone leaves, and takes about as long as it
//! spares zstd. Records that repeat each other whole are better left as they are (`crate::codec`).
//!
//! It is lossless byte by byte whatever the text: what is no JSON, and no header block, stays as it is. A
//! batch stands alone; what it shares with the batches before, the lane's zstd context finds.
//!
//! ```text
//! shaped    templates  marks  times  subjects  raws  columns
//! templates count, then each: length, bytes; a byte 0 is a slot
//! marks, times, subjects, raws
//!           length, bytes; of each record in turn:
//!           marks     flags u8, sequence, subject length unless it is the one before, headers, payload;
//!                     a text is 0 and its length where it is raw, else the number of its template from 1
//!           times     8 bytes where flagged absolute, else the difference
//!           subjects  bytes
//!           raws      bytes
//! columns   of each slot of each template in turn, see `column`
//! ```
//!
//! Flags and numbers are those of the plain body ([`crate::batch`]), as LEB128.

mod column;
mod decode;
mod encode;
mod number;
mod template;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use self::decode::unshape;
pub(crate) use self::encode::Shaper;

/// Fewer records than this share too little.
pub(crate) const RECORDS_MIN: u32 = 8;
/// Templates in a batch; texts that would need more stay raw.
const TEMPLATES_MAX: usize = 256;
/// Slots of a template; a text that needs more stays raw.
const SLOTS_MAX: usize = 256;
/// Stands for a slot in a template.
const SLOT: u8 = 0;
