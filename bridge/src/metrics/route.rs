//! What a scrape says of a route's leg.

use metrics::Recorder;

use super::{
    BALANCED, BATCH_RECORDS, BATCHES, CHECKPOINT_AGE, COMPRESSION_RATIO, DENIED, EPOCH, FORGED,
    LAG_RECORDS, LANES_REFUSED, LAST_PROGRESS, METADATA, PAYLOAD_BYTES, PENDING_BYTES,
    PENDING_RECORDS, PLAIN_BYTES, POSITIONS, RECORDS, RECORDS_READ, REPLICATED_THROUGH,
    ROUTE_STATE, Scrape, Value, WATERMARK, WIRE_BYTES, flag,
};
use crate::status::{RouteDirection, RouteReport, RouteState};

impl Scrape<'_> {
    pub(super) fn route(&self, report: &RouteReport) {
        let route = &report.status;
        let leg: [Value; 2] = [route.name.to_string().into(), route.peer.to_string().into()];
        let [name, peer] = leg.clone();
        let directed: &[Value] = &[name, peer, route.direction.as_str().into()];
        let states = RouteState::ALL.map(|it| (it.as_str(), it == route.state));
        self.set_which(ROUTE_STATE, directed, states);
        self.set_known(LAST_PROGRESS, directed, route.last_progress);
        self.set_known(WATERMARK, directed, route.watermark.map(|seq| seq as f64));
        self.set_known(EPOCH, directed, route.epoch.map(f64::from));
        self.set(PENDING_BYTES, directed, route.in_flight_bytes as f64);
        self.count(PLAIN_BYTES, directed, route.plain_bytes);
        self.count(WIRE_BYTES, directed, route.wire_bytes);
        self.count(BATCHES, directed, route.batches);
        self.set_known(COMPRESSION_RATIO, directed, report.compression_ratio);
        self.set_known(CHECKPOINT_AGE, directed, report.checkpoint_age_seconds);
        let histogram = self
            .0
            .register_histogram(&BATCH_RECORDS.key(directed), &METADATA);
        for bucket in route.batch_sizes.filled() {
            // Their mean lies in the same bucket, and the sum comes out right.
            let mean = bucket.records as f64 / bucket.batches as f64;
            histogram.record_many(mean, usize::try_from(bucket.batches).unwrap_or(usize::MAX));
        }
        match route.direction {
            RouteDirection::Out => self.source_side(report, &leg),
            RouteDirection::In => self.count(LANES_REFUSED, &leg, route.lanes_refused),
        }
    }

    fn source_side(&self, report: &RouteReport, leg: &[Value]) {
        let route = &report.status;
        self.set_known(REPLICATED_THROUGH, leg, route.replicated_through);
        self.set_known(
            LAG_RECORDS,
            leg,
            route.lag_records.map(|records| records as f64),
        );
        let outcomes = &route.outcomes;
        let by_outcome = [
            ("stored", outcomes.stored),
            ("duplicate", outcomes.duplicate),
            ("denied", outcomes.denied),
            ("returned", outcomes.returned),
            ("rejected", outcomes.rejected),
            ("expired", outcomes.expired),
        ];
        self.count_by(RECORDS, leg, by_outcome);
        // Pending ones may be read again after a reconnect; a counter must not take that back.
        self.count(
            RECORDS_READ,
            leg,
            outcomes.read.saturating_sub(outcomes.pending),
        );
        self.set(PENDING_RECORDS, leg, outcomes.pending as f64);
        let positions = &route.positions;
        let by_kind = [
            ("read", positions.read),
            ("filtered", positions.filtered),
            ("expired", positions.expired),
        ];
        self.count_by(POSITIONS, leg, by_kind);
        let denied = route.denied_by_class.iter();
        self.count_by(
            DENIED,
            leg,
            denied.map(|(class, count)| (class.clone(), *count)),
        );
        self.count(FORGED, leg, route.forged_provenance);
        self.set(BALANCED, leg, flag(report.balanced));
        self.count(PAYLOAD_BYTES, leg, route.payload_bytes);
    }
}
