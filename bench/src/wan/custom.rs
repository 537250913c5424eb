//! A link given on the command line.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use causeway::wan::Link;

/// Reads `rtt=120,rate=30,loss=0.5,burst=2,jitter=5`: milliseconds, Mbit/s and per cent; `rtt` and `rate` are needed. That is
/// also what tables call it: two of them are two links.
pub(crate) fn custom(text: &str) -> Result<Link> {
    let mut link = Link {
        name: Box::leak(text.into()), // arguments live as long as the process
        round_trip: Duration::ZERO,
        rate_bps: 0,
        loss: 0.0,
        burst: 1.0,
        jitter: Duration::ZERO,
    };
    let mut has_round_trip = false;
    for part in text.split(',') {
        let (name, value) = part
            .split_once('=')
            .context("NAME=NUMBER, and commas between")?;
        let value: f64 = value
            .parse()
            .with_context(|| format!("{value} is no number"))?;
        ensure!((0.0..1e9).contains(&value), "{name} is out of bounds");
        match name {
            "rtt" => {
                has_round_trip = true;
                link.round_trip = Duration::from_secs_f64(value / 1e3);
            }
            "rate" => link.rate_bps = (value * 1e6) as u64,
            "loss" => link.loss = value / 100.0,
            "burst" => link.burst = value,
            "jitter" => link.jitter = Duration::from_secs_f64(value / 1e3),
            _ => bail!("{name}: there are rtt, rate, loss, burst and jitter"),
        }
    }
    ensure!(has_round_trip, "rtt, in ms, is missing");
    ensure!(
        link.rate_bps >= 16_000,
        "rate, in Mbit/s, is missing or below 0.016"
    );
    link.profile().check()?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_and_what_is_none_is_refused() {
        let link = custom("rtt=120,rate=30,loss=0.5,burst=2,jitter=5").unwrap();
        assert_eq!(link.name, "rtt=120,rate=30,loss=0.5,burst=2,jitter=5");
        assert_eq!(link.round_trip, Duration::from_millis(120));
        assert_eq!(link.rate_bps, 30_000_000);
        assert!((link.loss - 0.005).abs() < 1e-12);
        assert_eq!(link.jitter, Duration::from_millis(5));
        for bad in [
            "",
            "rtt=1",
            "rate=1",
            "rtt=1,rate=0",
            "rtt=x,rate=1",
            "rtt=1,rate=1,loss=100",
            "rtt=1,rate=1,mtu=9",
        ] {
            assert!(custom(bad).is_err(), "{bad}");
        }
    }
}
