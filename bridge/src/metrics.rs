//! Every metric: name, unit, labels, help. `deploy/OPERATING.md` explains them; a test compares.
//!
//! Nothing is counted here. A scrape takes a [`StatusReport`] and copies it into a recorder of its own,
//! which is thrown away with the answer: no global state, nothing on a record's way, and a series that
//! is not known is absent instead of 0 (a lag that reads 0 because its route is stuck has fooled
//! people before). Names are `causeway_<noun>[_<unit>][_total]`, units are Prometheus's base units.

mod link;
mod process;
mod route;

use metrics::{Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};

use crate::status::{BATCH_SIZE_BOUNDS, StatusReport};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// What is true now.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Behaviour.
    pub kind: Kind,
    /// Labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// Declares each metric as a constant, and all of them as [`ALL`].
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $constant: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// Every metric that a sidecar may show.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "causeway_build_info" ["version", "region"]
        "Always 1; the labels say what runs here.";
    UPTIME = Gauge "causeway_uptime_seconds" []
        "Since the process began.";
    HEALTHY = Gauge "causeway_healthy" []
        "1 while the books balance and no internal task has died.";
    READY = Gauge "causeway_ready" []
        "1 when NATS is connected and every route has been resumed once.";
    NATS_UP = Gauge "causeway_nats_up" ["connection"]
        "1 while the connection to the region's own NATS stands.";
    NATS_RECONNECTS = Counter "causeway_nats_reconnects_total" ["connection"]
        "Times that the connection was up again after it had been lost.";

    LINK_UP = Gauge "causeway_link_up" ["peer"]
        "1 while a session with the peer stands.";
    LINK_RTT = Gauge "causeway_link_rtt_seconds" ["peer"]
        "Round trip as QUIC measures it. Absent while the link is down.";
    LINK_SENT = Counter "causeway_link_sent_bytes_total" ["peer"]
        "UDP payload sent to the peer.";
    LINK_RECEIVED = Counter "causeway_link_received_bytes_total" ["peer"]
        "UDP payload received from the peer.";
    LINK_LOST = Counter "causeway_link_lost_packets_total" ["peer"]
        "Packets that QUIC gave up and sent again.";
    LINK_RECONNECTS = Counter "causeway_link_reconnects_total" ["peer"]
        "Times that the link was up again after it had been lost.";
    LINK_REFUSED = Counter "causeway_link_refused_total" ["reason"]
        "Connections refused or ended for what the other side sent.";
    LINK_WIRE_SENT = Counter "causeway_link_wire_sent_bytes_total" ["peer"]
        "Sent to the peer, IP and UDP headers included: what rate and monthly cap count.";
    LINK_WIRE_PACKETS = Counter "causeway_link_wire_sent_packets_total" ["peer"]
        "Packets sent to the peer.";
    LINK_RATE = Gauge "causeway_link_rate_bits_per_second" ["peer"]
        "What the link may send, as declared. Absent where nothing is declared.";
    LINK_RATE_IN_USE = Gauge "causeway_link_rate_in_use_bits_per_second" ["peer"]
        "What the congestion controller allows. Absent while the link is down.";
    LINK_RATE_REASON = Gauge "causeway_link_rate_reason" ["peer", "reason"]
        "1 for what decides the link's rate, 0 for each other.";
    CAP = Gauge "causeway_link_cap_bytes" ["peer"]
        "What the link may send in a month. Absent without a cap.";
    CAP_USED = Gauge "causeway_link_cap_used_bytes" ["peer"]
        "Sent since the month began, IP and UDP headers included. Absent without a cap.";
    CAP_WARNING = Gauge "causeway_link_cap_warning" ["peer"]
        "1 from warn_at of the cap on. Absent without a cap.";
    CAP_REACHED = Gauge "causeway_link_cap_reached" ["peer"]
        "1 while the month's bytes are used. Absent without a cap.";
    CAP_RESETS = Gauge "causeway_link_cap_reset_timestamp_seconds" ["peer"]
        "When the next month begins. Absent without a cap.";
    REGION_RATE = Gauge "causeway_region_rate_bits_per_second" []
        "What all links together may send. Absent where nothing is declared.";
    RESIDENCY_SKEW = Gauge "causeway_link_residency_skew" ["peer"]
        "1 while the two ends have different residency rules.";

    ROUTE_STATE = Gauge "causeway_route_state" ["route", "peer", "direction", "state"]
        "1 for the state that the route is in, 0 for each other.";
    REPLICATED_THROUGH = Gauge "causeway_replicated_through_timestamp_seconds" ["route", "peer"]
        "All that the source stored before this time is settled. Source side; absent until known.";
    LAST_PROGRESS = Gauge "causeway_last_progress_timestamp_seconds" ["route", "peer", "direction"]
        "When something last proved that the route works. Absent until something did.";
    LAG_RECORDS = Gauge "causeway_lag_records" ["route", "peer"]
        "Records not settled, as last heard of the source. Source side; absent until known.";
    WATERMARK = Gauge "causeway_watermark_sequence" ["route", "peer", "direction"]
        "Source sequence up to which all is settled.";
    EPOCH = Gauge "causeway_source_epoch" ["route", "peer", "direction"]
        "Incarnation of the source stream; it rises when the stream is another one.";
    RECORDS = Counter "causeway_records_total" ["route", "peer", "outcome"]
        "Records by what became of them, each once. Source side.";
    RECORDS_READ = Counter "causeway_records_read_total" ["route", "peer"]
        "Records read whose outcome is known; the sum of causeway_records_total. Source side.";
    PENDING_RECORDS = Gauge "causeway_pending_records" ["route", "peer"]
        "Records read whose outcome is not yet known. Source side.";
    PENDING_BYTES = Gauge "causeway_pending_bytes" ["route", "peer", "direction"]
        "Their bytes; on the target side, bytes decoded and not yet stored.";
    POSITIONS = Counter "causeway_positions_total" ["route", "peer", "kind"]
        "Source positions by what was there: read, filtered, or expired (dropped unread). Source side.";
    DENIED = Counter "causeway_denied_records_total" ["route", "peer", "class"]
        "Records that residency kept back, by the class that decided, counted when read.";
    FORGED = Counter "causeway_forged_provenance_total" ["route", "peer"]
        "Records whose provenance was not theirs and was taken off.";
    BALANCED = Gauge "causeway_accounting_balanced" ["route", "peer"]
        "1 while every record read has one outcome and every position is explained. Source side.";
    PAYLOAD_BYTES = Counter "causeway_payload_bytes_total" ["route", "peer"]
        "Subject, headers and payload of the records settled. Source side.";
    PLAIN_BYTES = Counter "causeway_plain_bytes_total" ["route", "peer", "direction"]
        "Batches before compression.";
    WIRE_BYTES = Counter "causeway_wire_bytes_total" ["route", "peer", "direction"]
        "Batches as they travelled, without QUIC's own bytes.";
    BATCHES = Counter "causeway_batches_total" ["route", "peer", "direction"]
        "Batches that travelled.";
    BATCH_RECORDS = Histogram "causeway_batch_records" ["route", "peer", "direction"]
        "Records a batch.";
    COMPRESSION_RATIO = Gauge "causeway_compression_ratio" ["route", "peer", "direction"]
        "Bytes of batches before compression for each that travelled. Absent before the first batch.";
    LANES_REFUSED = Counter "causeway_lanes_refused_total" ["route", "peer"]
        "Lanes given up because of what the peer sent on them. Target side.";

    RELOADS = Counter "causeway_reloads_total" ["outcome"]
        "Times that the fleet file was read again: applied, unchanged, or refused for its errors.";
    RELOAD_OK = Gauge "causeway_reload_ok" []
        "0 while the fleet file, as last read, has errors and another one still holds; else 1.";
    RESTART_NEEDED = Gauge "causeway_restart_needed_keys" []
        "Keys of the fleet file whose new values wait for a restart.";

    CHECKPOINT_AGE = Gauge "causeway_checkpoint_age_seconds" ["route", "peer", "direction"]
        "Since the watermark was last handed to the checkpoint store.";
    CHECKPOINTS_FAILING = Gauge "causeway_checkpoint_store_failing" []
        "1 while the state directory cannot be written.";
    CHECKPOINTS_SET_ASIDE = Counter "causeway_checkpoint_stores_set_aside_total" []
        "Checkpoint stores found damaged, set aside and rebuilt from the streams.";
    CERTIFICATE_EXPIRY = Gauge "causeway_certificate_expiry_days" ["which"]
        "Whole days until the certificate in use ends; negative when it has.";
    CERTIFICATE_ENDS = Gauge "causeway_certificate_expiry_timestamp_seconds" ["which"]
        "When the certificate in use ends, since the Unix epoch; for certificates that live for hours.";
    CERTIFICATES_FAILING = Gauge "causeway_certificates_failing" []
        "1 while the certificate files, as they are now, cannot be used; what was read before stays in use.";

    RESIDENT_MEMORY = Gauge "process_resident_memory_bytes" []
        "Resident memory.";
    // A gauge, because the recorder's counters hold whole numbers only.
    CPU_SECONDS = Gauge "process_cpu_seconds_total" []
        "CPU time used, user and system.";
}

/// A label's value.
type Value = SharedString;

/// The text that Prometheus reads.
pub fn render(report: &StatusReport) -> Result<String, BuildError> {
    let bounds = BATCH_SIZE_BOUNDS.map(|bound| bound as f64);
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(BATCH_RECORDS.name.into()), &bounds)?
        .build_recorder();
    let scrape = Scrape(&recorder);
    for metric in ALL {
        scrape.describe(metric);
    }
    scrape.sidecar(report);
    for link in &report.links {
        scrape.link(link);
    }
    for route in &report.routes {
        scrape.route(route);
    }
    Ok(recorder.handle().render())
}

struct Scrape<'a>(&'a PrometheusRecorder);

impl Scrape<'_> {
    fn sidecar(&self, report: &StatusReport) {
        let region: Value = report.region.to_string().into();
        self.set(BUILD_INFO, &[report.version.into(), region], 1.0);
        self.set(UPTIME, &[], report.uptime_seconds);
        self.set(HEALTHY, &[], flag(report.healthy));
        self.set(READY, &[], flag(report.ready));
        for connection in &report.connections {
            self.set(NATS_UP, &[connection.name.into()], flag(connection.up));
            self.count(
                NATS_RECONNECTS,
                &[connection.name.into()],
                connection.reconnects,
            );
        }
        let refused = report.refused.iter();
        self.count_by(
            LINK_REFUSED,
            &[],
            refused.map(|(reason, count)| (*reason, *count)),
        );
        self.set(CHECKPOINTS_FAILING, &[], flag(report.checkpoints.failing));
        self.count(CHECKPOINTS_SET_ASIDE, &[], report.checkpoints.set_aside);
        for certificate in &report.certificates {
            let days = certificate.days_left.map(|days| days as f64);
            self.set_known(CERTIFICATE_EXPIRY, &[certificate.which.into()], days);
            let end = certificate.ends_at.map(|end| end as f64);
            self.set_known(CERTIFICATE_ENDS, &[certificate.which.into()], end);
        }
        let failing = report.certificates_problem.is_some();
        self.set(CERTIFICATES_FAILING, &[], flag(failing));
        let rate = report.rate.as_ref().and_then(|rate| rate.bits_per_second);
        self.set_known(REGION_RATE, &[], rate.map(|bits| bits as f64));
        let reload = &report.reload;
        let by_outcome = [
            ("applied", reload.applied),
            ("unchanged", reload.unchanged),
            ("refused", reload.refused),
        ];
        self.count_by(RELOADS, &[], by_outcome);
        self.set(RELOAD_OK, &[], flag(reload.is_ok()));
        self.set(RESTART_NEEDED, &[], reload.needs_restart.len() as f64);
        if let Some(usage) = process::usage() {
            self.set(RESIDENT_MEMORY, &[], usage.resident_bytes as f64);
            self.set(CPU_SECONDS, &[], usage.cpu_seconds);
        }
    }

    fn describe(&self, metric: &Metric) {
        let (name, help) = (metric.name.into(), metric.help.into());
        let unit: Option<Unit> = None; // it stands in the name
        match metric.kind {
            Kind::Counter => self.0.describe_counter(name, unit, help),
            Kind::Gauge => self.0.describe_gauge(name, unit, help),
            Kind::Histogram => self.0.describe_histogram(name, unit, help),
        }
    }

    fn count(&self, metric: Metric, values: &[Value], count: u64) {
        self.0
            .register_counter(&metric.key(values), &METADATA)
            .absolute(count);
    }

    /// A count for each value of the metric's last label.
    fn count_by<V: Into<Value>>(
        &self,
        metric: Metric,
        values: &[Value],
        counts: impl IntoIterator<Item = (V, u64)>,
    ) {
        for (last, count) in counts {
            self.count(metric, &[values, &[last.into()]].concat(), count);
        }
    }

    fn set(&self, metric: Metric, values: &[Value], value: f64) {
        self.0
            .register_gauge(&metric.key(values), &METADATA)
            .set(value);
    }

    /// 1 for the value of the metric's last label that holds, 0 for each other.
    fn set_which(
        &self,
        metric: Metric,
        values: &[Value],
        which: impl IntoIterator<Item = (&'static str, bool)>,
    ) {
        for (last, holds) in which {
            self.set(metric, &[values, &[last.into()]].concat(), flag(holds));
        }
    }

    /// What is not known has no series.
    fn set_known(&self, metric: Metric, values: &[Value], value: Option<f64>) {
        if let Some(value) = value {
            self.set(metric, values, value);
        }
    }
}

const METADATA: Metadata<'static> = Metadata::new("causeway", Level::INFO, None);

impl Metric {
    fn key(&self, values: &[Value]) -> metrics::Key {
        debug_assert_eq!(self.labels.len(), values.len(), "labels of {}", self.name);
        let labels = self.labels.iter().zip(values);
        let labels = labels.map(|(name, value)| Label::new(*name, value.clone()));
        metrics::Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }
}

fn flag(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}

#[cfg(test)]
mod tests;
