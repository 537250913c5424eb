//! Quantities with their units as people write them: rates, byte sizes, durations.
//!
//! A number without a unit is refused rather than guessed at, and so is "MB/s": a link's rate is in
//! bits, and a factor of eight is the dearest misreading on a WAN.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// It does not begin with a decimal number.
    #[error("no number in front")]
    Number,
    /// The number has no unit behind it.
    #[error("no unit")]
    NoUnit,
    /// The unit is none of those known for this kind of quantity.
    #[error("unknown unit")]
    Unit,
    /// A rate in bytes.
    #[error("rates are in bits: 1 MB/s is 8 Mbit/s")]
    Bytes,
    /// Zero, where something is needed.
    #[error("must be more than zero")]
    Zero,
    /// It exceeds the type, or is finer than its smallest unit.
    #[error("cannot be held exactly")]
    Range,
}

/// A rate in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    bits_per_second: u64,
}

impl Rate {
    /// A rate of so many bits a second.
    pub const fn from_bits_per_second(bits_per_second: u64) -> Self {
        Self { bits_per_second }
    }

    /// Bits a second.
    pub const fn bits_per_second(self) -> u64 {
        self.bits_per_second
    }

    /// Bytes a second, rounded down.
    pub const fn bytes_per_second(self) -> u64 {
        self.bits_per_second / 8
    }
}

impl FromStr for Rate {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split(text)?;
        if unit.contains('B') {
            return Err(InvalidQuantity::Bytes);
        }
        let factor = match unit {
            "bit/s" => 1,
            "kbit/s" | "Kbit/s" => 1_000,
            "Mbit/s" => 1_000_000,
            "Gbit/s" => 1_000_000_000,
            _ => return Err(InvalidQuantity::Unit),
        };
        match number.times(factor)? {
            0 => Err(InvalidQuantity::Zero),
            bits_per_second => Ok(Self { bits_per_second }),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_000_000_000, "Gbit/s"),
            (1_000_000, "Mbit/s"),
            (1_000, "kbit/s"),
            (1, "bit/s"),
        ];
        write_in_units(f, self.bits_per_second, &units, " ")
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split(text)?;
        let factor = match unit {
            "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" | "Ki" => 1 << 10,
            "MiB" | "Mi" => 1 << 20,
            "GiB" | "Gi" => 1 << 30,
            "TiB" | "Ti" => 1 << 40,
            _ => return Err(InvalidQuantity::Unit),
        };
        match number.times(factor)? {
            0 => Err(InvalidQuantity::Zero),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1 << 40, "TiB"),
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
            (1, "B"),
        ];
        write_in_units(f, self.0, &units, "")
    }
}

/// Reads a duration: a number and one of `ns`, `us`, `ms`, `s`, `m`, `h`, `d`.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidQuantity> {
    let (number, unit) = split(text)?;
    let nanos = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "d" => 86_400 * 1_000_000_000,
        _ => return Err(InvalidQuantity::Unit),
    };
    match number.times(nanos)? {
        0 => Err(InvalidQuantity::Zero),
        nanos => Ok(Duration::from_nanos(nanos)),
    }
}

/// A decimal number, kept exact: `digits / 10^decimals`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    decimals: u32,
}

impl Decimal {
    fn times(self, factor: u64) -> Result<u64, InvalidQuantity> {
        let scale = 10_u128
            .checked_pow(self.decimals)
            .ok_or(InvalidQuantity::Range)?;
        let product = u128::from(self.digits) * u128::from(factor);
        if product % scale != 0 {
            return Err(InvalidQuantity::Range);
        }
        u64::try_from(product / scale).map_err(|_| InvalidQuantity::Range)
    }
}

/// The number, and the unit behind it; one space may stand between.
fn split(text: &str) -> Result<(Decimal, &str), InvalidQuantity> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err(InvalidQuantity::Number);
    }
    let digits = format!("{whole}{fraction}")
        .parse()
        .map_err(|_| InvalidQuantity::Range)?;
    let decimals = u32::try_from(fraction.len()).map_err(|_| InvalidQuantity::Range)?;
    match unit.strip_prefix(' ').unwrap_or(unit) {
        "" => Err(InvalidQuantity::NoUnit),
        unit => Ok((Decimal { digits, decimals }, unit)),
    }
}

/// In the largest unit that needs no fraction.
fn write_in_units(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(u64, &str)],
    space: &str,
) -> fmt::Result {
    let fits = |(size, _): &&(u64, &str)| value >= *size && value.is_multiple_of(*size);
    match units.iter().find(fits) {
        Some((size, unit)) => write!(f, "{}{space}{unit}", value / size),
        None => write!(
            f,
            "{value}{space}{}",
            units.last().map_or("", |(_, unit)| unit)
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Result<u64, InvalidQuantity> {
        text.parse().map(Rate::bits_per_second)
    }

    #[test]
    fn rates() {
        assert_eq!(rate("50 Mbit/s"), Ok(50_000_000));
        assert_eq!(rate("50kbit/s"), Ok(50_000));
        assert_eq!(rate("1.5 Gbit/s"), Ok(1_500_000_000));
        assert_eq!(rate("50"), Err(InvalidQuantity::NoUnit));
        assert_eq!(rate("50 MB/s"), Err(InvalidQuantity::Bytes));
        assert_eq!(rate("50 mbit/s"), Err(InvalidQuantity::Unit));
        assert_eq!(rate("fast"), Err(InvalidQuantity::Number));
        assert_eq!(rate("0 Mbit/s"), Err(InvalidQuantity::Zero));
        assert_eq!(rate("0.5 bit/s"), Err(InvalidQuantity::Range));
        assert_eq!(rate("99999999999 Gbit/s"), Err(InvalidQuantity::Range));
        assert_eq!(rate("1.2.3 Mbit/s"), Err(InvalidQuantity::Number));
        assert_eq!(rate("1. Mbit/s"), Err(InvalidQuantity::Number));
    }

    #[test]
    fn sizes_and_durations() {
        assert_eq!("64MiB".parse(), Ok(ByteSize(64 << 20)));
        assert_eq!("10Gi".parse(), Ok(ByteSize(10 << 30)));
        assert_eq!("1.5 kB".parse(), Ok(ByteSize(1500)));
        assert_eq!("64 mb".parse::<ByteSize>(), Err(InvalidQuantity::Unit));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("5 minutes"), Err(InvalidQuantity::Unit));
        assert_eq!(parse_duration("-5s"), Err(InvalidQuantity::Number));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in 1_u64..) {
            let rate = Rate::from_bits_per_second(value);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            prop_assert_eq!(ByteSize(value).to_string().parse(), Ok(ByteSize(value)));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,24}") {
            let _ = (text.parse::<Rate>(), text.parse::<ByteSize>(), parse_duration(&text));
        }
    }
}
