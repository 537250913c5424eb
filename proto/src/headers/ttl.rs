//! A message's time to live as nats-server reads it: whole seconds, a Go duration, or `never`.

/// What a value of `Nats-TTL` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    /// Nothing: the value is empty, or a zero that the server takes for none.
    Absent,
    /// The record outlives the stream's own limit on age.
    Never,
    /// At least one second; the server drops fractions.
    Seconds(u64),
    /// The server refuses it (10165).
    Invalid,
}

const SECOND_NS: u64 = 1_000_000_000;
/// Go's durations are signed 64-bit nanoseconds, added up as unsigned ones.
const SUM_MAX: u64 = 1 << 63;

pub(super) fn parse_ttl(value: &[u8]) -> Ttl {
    if value.is_empty() {
        return Ttl::Absent;
    }
    if value.eq_ignore_ascii_case(b"never") {
        return Ttl::Never;
    }
    match go_duration(value) {
        Some(ns) if ns < SECOND_NS => Ttl::Invalid,
        Some(ns) => Ttl::Seconds(ns / SECOND_NS),
        None => match go_integer(value) {
            None => Ttl::Invalid,
            Some(0) => Ttl::Absent,
            Some(seconds) => Ttl::Seconds(seconds),
        },
    }
}

/// Digits only. The server's own arithmetic wraps, and calls what comes out negative invalid.
fn go_integer(value: &[u8]) -> Option<u64> {
    let mut number = 0i64;
    for byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
    }
    u64::try_from(number).ok()
}

/// Go's `time.ParseDuration`, in nanoseconds; a negative duration counts as none at all.
fn go_duration(value: &[u8]) -> Option<u64> {
    let (negative, mut rest) = match value {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest == b"0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = 0u64;
    while !rest.is_empty() {
        let ns;
        (ns, rest) = go_term(rest)?;
        sum = sum.checked_add(ns).filter(|sum| *sum <= SUM_MAX)?;
    }
    if negative {
        return Some(0);
    }
    (sum < SUM_MAX).then_some(sum)
}

/// One number with its unit, and what follows it.
fn go_term(text: &[u8]) -> Option<(u64, &[u8])> {
    let (whole, rest) = digits(text);
    let mut number = 0u64;
    for digit in whole {
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => digits(rest),
        _ => (&b""[..], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_len = rest
        .iter()
        .position(|byte| *byte == b'.' || byte.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    let unit_ns: u64 = match unit {
        b"ns" => 1,
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => SECOND_NS,
        b"m" => 60 * SECOND_NS,
        b"h" => 3_600 * SECOND_NS,
        _ => return None,
    };
    // Digits beyond the eighteenth are less than a nanosecond of any unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let parts = fraction
        .iter()
        .fold(0u64, |parts, digit| parts * 10 + u64::from(digit - b'0'));
    let scale = 10u128.pow(fraction.len() as u32);
    let parts_ns = (u128::from(parts) * u128::from(unit_ns) / scale) as u64; // less than one unit
    let ns = number.checked_mul(unit_ns)?.checked_add(parts_ns)?;
    Some((ns, rest)).filter(|_| ns <= SUM_MAX)
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was asked of nats-server 2.15.1, on a stream with `allow_msg_ttl`.
    #[test]
    fn values_mean_what_the_server_takes_them_for() {
        for (value, want) in [
            ("", Ttl::Absent),
            ("00", Ttl::Absent),
            ("never", Ttl::Never),
            ("NEVER", Ttl::Never),
            ("1", Ttl::Seconds(1)),
            ("1h", Ttl::Seconds(3_600)),
            ("+1h", Ttl::Seconds(3_600)),
            ("1h30m", Ttl::Seconds(5_400)),
            ("1m0s", Ttl::Seconds(60)),
            ("1.5s", Ttl::Seconds(1)),
            (".5h", Ttl::Seconds(1_800)),
            ("1000000us", Ttl::Seconds(1)),
            ("1500000µs", Ttl::Seconds(1)),
            ("9223372036854775807", Ttl::Seconds(i64::MAX as u64)),
            ("9223372036s", Ttl::Seconds(9_223_372_036)),
            ("2562047h47m16.854775807s", Ttl::Seconds(9_223_372_036)),
            ("0", Ttl::Invalid),
            ("60 ", Ttl::Invalid),
            ("\t60", Ttl::Invalid),
            ("1 h", Ttl::Invalid),
            ("1d", Ttl::Invalid),
            ("999ms", Ttl::Invalid),
            ("-1h", Ttl::Invalid),
            ("+60", Ttl::Invalid),
            ("5e3s", Ttl::Invalid),
            ("9999999999999h", Ttl::Invalid),
            ("junk", Ttl::Invalid),
        ] {
            assert_eq!(parse_ttl(value.as_bytes()), want, "{value:?}");
        }
    }
}
