//! A header block as nats-server reads it.
//!
//! The server knows neither case nor folding: a header is an exact name right behind a CRLF and right
//! before a colon, anywhere in the block, an empty line notwithstanding; its value begins behind the
//! spaces after the colon and ends at the next CRLF. The first line of a name counts.

use memchr::{memchr_iter, memchr2};

const VERSION: &[u8] = b"NATS/1.0";

/// The lines of a block: what follows its version line, which may carry a status. A block that begins
/// otherwise (servers store any bytes) is all lines.
pub fn lines_of(block: &[u8]) -> &[u8] {
    let Some(rest) = block.strip_prefix(VERSION) else {
        return block;
    };
    match memchr2(b'\r', b'\n', rest) {
        None if rest.is_empty() => rest,
        Some(end) if rest[end..].starts_with(b"\r\n") && (end == 0 || rest[0] == b' ') => {
            &rest[end + 2..]
        }
        _ => block,
    }
}

/// The value of the first header of that exact name, as the server reads it.
pub fn value_of<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    line_starts(block)
        .skip(1)
        .find_map(|start| value_in(&block[start..], name))
}

/// The value of the line that `lines` begins with, if it has that name.
pub(crate) fn value_in<'a>(lines: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = lines.strip_prefix(name)?.strip_prefix(b":")?;
    let spaces = value.iter().take_while(|byte| **byte == b' ').count();
    let value = &value[spaces..];
    let line = &value[..line_len(value)];
    Some(line.strip_suffix(b"\r\n").unwrap_or(line))
}

/// Where lines begin: at 0, and behind each CRLF that something follows.
pub(super) fn line_starts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let behind_crlf = memchr_iter(b'\n', bytes)
        .filter(|at| *at > 0 && bytes[at - 1] == b'\r')
        .map(|at| at + 1)
        .filter(|start| *start < bytes.len());
    std::iter::once(0)
        .filter(|_| !bytes.is_empty())
        .chain(behind_crlf)
}

/// Length of the first line with its CRLF, if it has one.
pub(super) fn line_len(bytes: &[u8]) -> usize {
    line_starts(bytes).nth(1).unwrap_or(bytes.len())
}

/// Length of the lines that continue the line before them: they begin with a space or a tab.
pub(super) fn folded_len(bytes: &[u8]) -> usize {
    line_starts(bytes)
        .find(|start| !matches!(bytes[*start], b' ' | b'\t'))
        .unwrap_or(bytes.len())
}
