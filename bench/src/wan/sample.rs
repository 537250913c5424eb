//! What a trial was, and what came of it.

use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::live::Latency;
use super::trial::Place;
use super::usage::ProcessUse;

/// The bytes of an IP packet that carry a contender's: what IP, UDP and QUIC, or IP and TCP with timestamps, leave.
pub(crate) const PAYLOAD_SHARE: f64 = 1_448.0 / 1_500.0;

/// What a trial was, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The link's name, or `loopback`.
    pub link: String,
    pub contender: Contender,
    pub data: String,
    pub round: usize,
    /// Why there is nothing to tell, if so.
    pub failed: Option<String>,
    /// From the start of the contender to the first record in the target.
    pub first_after_seconds: f64,
    pub records: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    pub payload_mb_per_second: f64,
    /// The longest time in which the target got nothing.
    #[serde(default)]
    pub pause_max_seconds: f64,
    pub wire: Wire,
    /// Mean payload of a record of these data.
    #[serde(default)]
    pub record_bytes: f64,
    /// Payload bytes a byte of batches, as the source's sidecar counts them: what QUIC, UDP and IP add left out.
    #[serde(default)]
    pub compression: Option<f64>,
    pub processes: Vec<ProcessUse>,
    pub emulator_cpu_seconds: f64,
    /// Of all cores, whoever used them.
    pub machine_idle_share: f64,
    /// `link`, `CPU` or `itself`, from the figures above.
    pub bound_by: String,
    pub latency: Option<Latency>,
}

/// What a trial did to the link. Bytes are those of IP packets.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Wire {
    pub forward_bytes: u64,
    pub back_bytes: u64,
    /// Payload bytes a byte sent forward.
    pub ratio: f64,
    /// Of the link's rate, forward, what passed the bottleneck.
    pub used_share: f64,
    /// Payload bytes of what the link could carry of them uncompressed, `rate x (1 - loss) x 1448 / 1500`.
    pub goodput_share: f64,
    /// Mean and longest wait in the bottleneck's queue.
    pub queue_mean_ms: f64,
    pub overflowed_packets: u64,
    /// The most bytes over `rate x t` that entered in any interval of the trial, forward and back; the rate is the declared
    /// one, or else the link's.
    #[serde(default)]
    pub burst_bytes: [f64; 2],
    /// Of the link: bits a second, and the share lost.
    #[serde(default)]
    pub rate_bps: u64,
    #[serde(default)]
    pub loss: f64,
}

/// An empty sample.
pub(crate) fn sample(
    place: Place,
    contender: Contender,
    data: &'static str,
    round: usize,
) -> Sample {
    Sample {
        link: place.map_or("loopback", |link| link.name).to_owned(),
        contender,
        data: data.to_owned(),
        round,
        failed: None,
        first_after_seconds: 0.0,
        records: 0,
        seconds: 0.0,
        records_per_second: 0.0,
        payload_mb_per_second: 0.0,
        pause_max_seconds: 0.0,
        wire: Wire::default(),
        record_bytes: 0.0,
        compression: None,
        processes: Vec::new(),
        emulator_cpu_seconds: 0.0,
        machine_idle_share: 0.0,
        bound_by: String::new(),
        latency: None,
    }
}
