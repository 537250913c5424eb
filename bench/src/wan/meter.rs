//! What a trial took of the link and the machine.

use std::time::Instant;

use anyhow::Result;
use causeway::wan::{Link, PathCounters};

use super::emulator::Snapshot;
use super::sample::{PAYLOAD_SHARE, Sample, Wire};
use super::trial::{Place, Running, Stage};
use super::usage::{Machine, Usage};

/// What is measured around a part of a trial.
pub(crate) struct Meter {
    began: Instant,
    usages: Vec<Usage>,
    snapshot: Snapshot,
    machine: Machine,
}

impl Meter {
    pub(crate) fn begin(stage: &Stage, running: &mut Running) -> Result<Self> {
        let mut ids = vec![
            ("us server".to_owned(), stage.source.id),
            ("eu server".to_owned(), running.target.server.process().id()),
        ];
        ids.extend(
            running
                .sidecars
                .iter()
                .map(|it| (it.name().to_owned(), it.id())),
        );
        let usages = ids
            .iter()
            .map(|(name, id)| Usage::begin(name, *id))
            .collect::<Result<_>>()?;
        Ok(Self {
            usages,
            snapshot: stage.world.emulator.snapshot(),
            machine: Machine::now()?,
            began: Instant::now(),
        })
    }

    /// Fills in what was used by so many records of so many bytes.
    pub(crate) fn end(
        self,
        stage: &Stage,
        place: Place,
        sample: &mut Sample,
        payload: f64,
    ) -> Result<()> {
        let elapsed = self.began.elapsed();
        let after = stage.world.emulator.snapshot();
        let uses = self.usages.iter().map(|usage| usage.end(elapsed));
        sample.processes = uses.collect::<Result<_>>()?;
        sample.machine_idle_share = Machine::now()?.idle_since(&self.machine);
        sample.emulator_cpu_seconds = (after.cpu - self.snapshot.cpu).as_secs_f64();
        sample.seconds = elapsed.as_secs_f64();
        sample.records_per_second = sample.records as f64 / sample.seconds;
        sample.payload_mb_per_second = payload / 1e6 / sample.seconds;
        if let Some(link) = place {
            let forward = after.forward.since(&self.snapshot.forward);
            let back = after.back.since(&self.snapshot.back);
            sample.wire = wire(&link, &forward, &back, payload, sample.seconds);
            sample.wire.burst_bytes = after.burst_bytes;
        }
        sample.bound_by = bound_by(sample).to_owned();
        Ok(())
    }
}

fn wire(
    link: &Link,
    forward: &PathCounters,
    back: &PathCounters,
    payload: f64,
    seconds: f64,
) -> Wire {
    let rate = link.rate_bps as f64 / 8.0;
    Wire {
        forward_bytes: forward.entered_bytes,
        back_bytes: back.entered_bytes,
        ratio: payload / (forward.entered_bytes as f64).max(1.0),
        used_share: forward.passed_bytes as f64 / seconds / rate,
        goodput_share: payload / seconds / (rate * (1.0 - link.loss) * PAYLOAD_SHARE),
        queue_mean_ms: forward.waited_mean().as_secs_f64() * 1e3,
        overflowed_packets: forward.overflowed_packets,
        burst_bytes: [0.0; 2],
        rate_bps: link.rate_bps,
        loss: link.loss,
    }
}

/// A machine with less idle time than this holds back a chain of processes that wait for each other.
const IDLE_MIN: f64 = 0.2;

/// What holds a trial back: a full link, a full machine or a full thread, or its own protocol.
pub(crate) fn bound_by(sample: &Sample) -> &'static str {
    let hottest = sample
        .processes
        .iter()
        .map(|it| it.hottest_share)
        .fold(0.0, f64::max);
    if sample.wire.used_share >= 0.9 {
        "link"
    } else if sample.machine_idle_share < IDLE_MIN || hottest > 0.9 {
        "CPU"
    } else {
        "itself"
    }
}
