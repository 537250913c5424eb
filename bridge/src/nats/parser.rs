//! The protocol parser: bytes in, spans out. No I/O and no allocation per message.
//!
//! [`scan`] walks over the complete frames at the front of a read buffer. Messages become
//! [`Entry`] spans relative to the buffer's start, grouped by subscription, so that the caller can
//! split those bytes off once and share them among all blocks. An incomplete frame stays in the
//! buffer, and `need` says how much must be there before another scan makes sense.
//!
//! Strictness: the server separates fields by exactly one space and ends lines with CR LF, so we
//! accept nothing else. Anything malformed is a [`ProtocolError`] and ends the connection.

use std::ops::Range;

use memchr::memchr;

use super::error::ProtocolError;

/// Longest control line other than INFO. The server's own default (`max_control_line`) is 4 KiB for
/// what publishers send it; an operator may raise that, and a stored subject is then as long.
pub(crate) const LINE_LEN_MAX: usize = 64 * 1024;

/// Longest INFO line: it lists the URLs of every server in the cluster.
pub(crate) const INFO_LEN_MAX: usize = 1024 * 1024;

/// Largest message in bytes, headers included. The server's own hard limit for `max_payload` is
/// 64 MiB, and records sourced natively may carry up to 64 KiB of headers beyond it.
pub(crate) const MESSAGE_LEN_MAX: usize = 64 * 1024 * 1024 + 128 * 1024;

/// How many of the latest runs are searched for a message's subscription. Replies to several pulls
/// come interleaved; merging them keeps blocks large.
const RUNS_SEARCHED: usize = 8;

/// One message in a buffer: offsets from the buffer's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    subject: u32,
    reply: u32,
    headers: u32,
    payload: u32,
    end: u32,
    subject_len: u16,
    reply_len: u16,
}

impl Entry {
    pub(crate) fn subject(&self) -> Range<usize> {
        self.subject as usize..self.subject as usize + usize::from(self.subject_len)
    }

    pub(crate) fn reply(&self) -> Range<usize> {
        self.reply as usize..self.reply as usize + usize::from(self.reply_len)
    }

    pub(crate) fn headers(&self) -> Range<usize> {
        self.headers as usize..self.payload as usize
    }

    pub(crate) fn payload(&self) -> Range<usize> {
        self.payload as usize..self.end as usize
    }

    /// All of the above, and what stands between them.
    pub(crate) fn span(&self) -> Range<usize> {
        self.subject as usize..self.end as usize
    }

    /// The same message where its span begins at `start`, before where it was.
    pub(crate) fn moved_to(self, start: usize) -> Self {
        let back = self.subject - u32::try_from(start).unwrap_or(self.subject);
        Self {
            subject: self.subject - back,
            reply: self.reply - back,
            headers: self.headers - back,
            payload: self.payload - back,
            end: self.end - back,
            ..self
        }
    }
}

/// Messages of one subscription, in the order they came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) sid: u64,
    pub(crate) entries: Vec<Entry>,
    /// Bytes of the frames, control lines included.
    pub(crate) wire_bytes: usize,
}

/// A frame that is not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    Ping,
    Pong,
    Info(Range<usize>),
    Error(Range<usize>),
}

/// What stood at the front of a buffer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) runs: Vec<Run>,
    /// In order among themselves; their place between messages is not kept.
    pub(crate) controls: Vec<Control>,
    /// Bytes of complete frames.
    pub(crate) consumed: usize,
    /// Bytes that must stand behind `consumed` before the next frame can be complete.
    pub(crate) need: usize,
}

/// Reads every complete frame at the front of `buffer`.
pub(crate) fn scan(buffer: &[u8]) -> Result<Scan, ProtocolError> {
    let mut scan = Scan::default();
    loop {
        let rest = &buffer[scan.consumed..];
        match frame(rest, scan.consumed)? {
            Step::Incomplete { need } => {
                scan.need = need;
                return Ok(scan);
            }
            Step::Message { sid, entry, len } => {
                scan.consumed += len;
                push(&mut scan.runs, sid, entry, len);
            }
            Step::Control { control, len } => {
                scan.consumed += len;
                scan.controls.extend(control);
            }
        }
    }
}

fn push(runs: &mut Vec<Run>, sid: u64, entry: Entry, len: usize) {
    match runs
        .iter_mut()
        .rev()
        .take(RUNS_SEARCHED)
        .find(|run| run.sid == sid)
    {
        Some(run) => {
            run.entries.push(entry);
            run.wire_bytes += len;
        }
        None => runs.push(Run {
            sid,
            entries: vec![entry],
            wire_bytes: len,
        }),
    }
}

enum Step {
    Incomplete {
        need: usize,
    },
    Message {
        sid: u64,
        entry: Entry,
        len: usize,
    },
    Control {
        control: Option<Control>,
        len: usize,
    },
}

/// One frame at the front of `rest`, which begins at `base` in the buffer.
fn frame(rest: &[u8], base: usize) -> Result<Step, ProtocolError> {
    let Some(&first) = rest.first() else {
        return Ok(Step::Incomplete { need: 1 });
    };
    let line_len_max = if first == b'I' {
        INFO_LEN_MAX
    } else {
        LINE_LEN_MAX
    };
    let searched = &rest[..rest.len().min(line_len_max)];
    let Some(newline) = memchr(b'\n', searched) else {
        if rest.len() >= line_len_max {
            return Err(ProtocolError::LineTooLong(line_len_max));
        }
        if !b"MHPI+-".contains(&first) {
            return Err(ProtocolError::UnknownOperation);
        }
        return Ok(Step::Incomplete {
            need: rest.len() + 1,
        });
    };
    let line = rest[..newline]
        .strip_suffix(b"\r")
        .ok_or(ProtocolError::MissingLineEnd)?;
    let after_line = newline + 1;
    if let Some(arguments) = line.strip_prefix(b"HMSG ") {
        return message(rest, base, after_line, message_line(arguments, 5, true)?);
    }
    if let Some(arguments) = line.strip_prefix(b"MSG ") {
        return message(rest, base, after_line, message_line(arguments, 4, false)?);
    }
    let text = |skip: usize| base + skip..base + line.len();
    let control = match line {
        b"PING" => Some(Control::Ping),
        b"PONG" => Some(Control::Pong),
        b"+OK" => None,
        _ if line.starts_with(b"INFO ") => Some(Control::Info(text(5))),
        _ if line.starts_with(b"-ERR ") => Some(Control::Error(text(5))),
        _ => return Err(ProtocolError::UnknownOperation),
    };
    Ok(Step::Control {
        control,
        len: after_line,
    })
}

/// The fields of a MSG or HMSG line; offsets are from the frame's start.
struct MessageLine {
    subject: Range<usize>,
    reply: Range<usize>,
    sid: u64,
    headers_len: usize,
    total_len: usize,
}

/// `subject sid [reply] [headers_len] total_len`, where `skip` bytes of operation came before.
/// Numbers are taken from the right, so that the reply needs no search.
fn message_line(
    arguments: &[u8],
    skip: usize,
    has_headers: bool,
) -> Result<MessageLine, ProtocolError> {
    const MALFORMED: ProtocolError = ProtocolError::MalformedMessageLine;
    let subject_len = memchr(b' ', arguments).ok_or(MALFORMED)?;
    let (mut left, total_len) = last_number(arguments).ok_or(MALFORMED)?;
    let mut headers_len = 0;
    if has_headers {
        (left, headers_len) = last_number(left).ok_or(MALFORMED)?;
    }
    // What remains is `subject sid` or `subject sid reply`.
    let after_subject = left.get(subject_len + 1..).ok_or(MALFORMED)?;
    let (sid_text, reply) = match memchr(b' ', after_subject) {
        Some(space) => (&after_subject[..space], &after_subject[space + 1..]),
        None => (after_subject, &after_subject[after_subject.len()..]),
    };
    let has_reply = sid_text.len() < after_subject.len();
    let malformed_reply = has_reply && (reply.is_empty() || memchr(b' ', reply).is_some());
    if subject_len == 0 || malformed_reply || headers_len > total_len {
        return Err(MALFORMED);
    }
    let sid = number(sid_text).ok_or(MALFORMED)? as u64;
    if total_len > MESSAGE_LEN_MAX {
        return Err(ProtocolError::MessageTooLarge {
            size: total_len,
            max: MESSAGE_LEN_MAX,
        });
    }
    let reply_end = skip + left.len();
    Ok(MessageLine {
        subject: skip..skip + subject_len,
        reply: reply_end - reply.len()..reply_end,
        sid,
        headers_len,
        total_len,
    })
}

/// Splits ` number` off the end.
fn last_number(text: &[u8]) -> Option<(&[u8], usize)> {
    let digits = text.iter().rev().take_while(|byte| **byte != b' ').count();
    let left = text.len().checked_sub(digits + 1)?;
    Some((&text[..left], number(&text[left + 1..])?))
}

/// A plain decimal number that no honest size or id exceeds.
fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    text.iter().try_fold(0_usize, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + usize::from(byte - b'0'))
    })
}

fn message(
    rest: &[u8],
    base: usize,
    after_line: usize,
    line: MessageLine,
) -> Result<Step, ProtocolError> {
    let end = after_line + line.total_len;
    let len = end + 2;
    if rest.len() < len {
        return Ok(Step::Incomplete { need: len });
    }
    if &rest[end..len] != b"\r\n" {
        return Err(ProtocolError::MissingMessageEnd);
    }
    let at = |offset: usize| {
        u32::try_from(base + offset).expect("a buffer holds one message and one read, under 4 GiB")
    };
    let short = |len: usize| u16::try_from(len).expect("a line is shorter than 64 KiB");
    let entry = Entry {
        subject: at(line.subject.start),
        subject_len: short(line.subject.len()),
        reply: at(line.reply.start),
        reply_len: short(line.reply.len()),
        headers: at(after_line),
        payload: at(after_line + line.headers_len),
        end: at(end),
    };
    Ok(Step::Message {
        sid: line.sid,
        entry,
        len,
    })
}

#[cfg(test)]
mod tests;
