//! What a link should carry of data that compress as measured, and what it carried.

use std::fmt::Write as _;

use super::contender::Contender;
use super::report::{Row, short};
use super::sample::{PAYLOAD_SHARE, Sample};

/// `rate x (1 - loss) x 1448 / 1500` bytes of batches a second, and as many records in them as the measured ratio of payload to
/// batches allows. Nothing that this trial measured of the link itself is in it.
pub(crate) fn records_per_second(sample: &Sample) -> Option<f64> {
    let batches = sample.wire.rate_bps as f64 / 8.0 * (1.0 - sample.wire.loss) * PAYLOAD_SHARE;
    (sample.record_bytes > 0.0 && sample.wire.rate_bps > 0)
        .then_some(batches * sample.compression? / sample.record_bytes)
}

/// A table of all rows that can be predicted; empty without any.
pub(crate) fn table(rows: &[&Row<'_>]) -> String {
    let mut lines = String::new();
    let can = |row: &&&Row<'_>| {
        matches!(
            row.contender,
            Contender::CausewayDeclared
                | Contender::CausewayProbing
                | Contender::CausewayWithoutIds
        ) && !row.good.is_empty()
            && row.good.iter().all(|it| records_per_second(it).is_some())
    };
    for row in rows.iter().filter(can) {
        let predicted = row.median(|it| records_per_second(it).unwrap_or_default());
        let measured = row.median(|it| it.records_per_second);
        let _ = writeln!(
            lines,
            "| {} | {} | {} | {} | {} | {} | {:+.1} % | {} |",
            row.link,
            row.data,
            row.contender.name(),
            short(row.median(|it| it.compression.unwrap_or_default())),
            short(predicted),
            short(measured),
            (measured / predicted.max(1e-9) - 1.0) * 100.0,
            row.good[0].bound_by,
        );
    }
    if lines.is_empty() {
        return lines;
    }
    format!(
        "| Link | data | | payload a byte of batches | records/s predicted | measured | deviation | bound by |\n\
         |---|---|---|---|---|---|---|---|\n{lines}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::sample::sample;
    use super::*;

    #[test]
    fn a_link_carries_its_rate_less_loss_and_headers_times_the_ratio() {
        let mut sample = sample(None, Contender::CausewayDeclared, "orders", 0);
        assert_eq!(records_per_second(&sample), None);
        sample.wire.rate_bps = 12_000_000;
        sample.wire.loss = 0.01;
        sample.record_bytes = 512.0;
        sample.compression = Some(4.0);
        let wanted = 1_000.0 * 1_448.0 * 0.99 * 4.0 / 512.0;
        let predicted = records_per_second(&sample).unwrap();
        assert!((predicted - wanted).abs() < 1e-6, "{predicted}");
    }
}
