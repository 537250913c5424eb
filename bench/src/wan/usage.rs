//! What processes took of the machine, from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// A tick of /proc's clocks, the same on every Linux that matters.
const TICK: Duration = Duration::from_millis(10);

/// What a process took during a measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProcessUse {
    pub name: String,
    pub cpu_seconds: f64,
    pub peak_mib: f64,
    /// Its busiest thread, and the share of a core that it took.
    pub hottest_thread: String,
    pub hottest_share: f64,
}

/// A process at one moment.
#[derive(Debug)]
pub(crate) struct Usage {
    name: String,
    id: u32,
    /// Name and CPU time of each thread by its id.
    threads: BTreeMap<u32, (String, Duration)>,
    cpu: Duration,
}

impl Usage {
    /// Begins to measure: CPU time so far, and the peak of memory from now on.
    pub(crate) fn begin(name: &str, id: u32) -> Result<Self> {
        // 5 sets the peak back; without the right to it the peak is that of all the process's life.
        let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
        Self::read(name, id)
    }

    fn read(name: &str, id: u32) -> Result<Self> {
        let cpu = cpu_of(&format!("/proc/{id}/stat"))?.1;
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{id}/task"))? {
            let thread: u32 = entry?.file_name().to_string_lossy().parse()?;
            // A thread may end while we look.
            if let Ok(found) = cpu_of(&format!("/proc/{id}/task/{thread}/stat")) {
                threads.insert(thread, found);
            }
        }
        let name = name.to_owned();
        Ok(Self {
            name,
            id,
            threads,
            cpu,
        })
    }

    /// What it took since it began.
    pub(crate) fn end(&self, elapsed: Duration) -> Result<ProcessUse> {
        let now = Self::read(&self.name, self.id)?;
        let taken = |(id, (name, cpu)): (&u32, &(String, Duration))| {
            let before = self.threads.get(id).map_or(Duration::ZERO, |(_, cpu)| *cpu);
            (cpu.saturating_sub(before), name.clone())
        };
        let (hottest, thread) = now.threads.iter().map(taken).max().unwrap_or_default();
        Ok(ProcessUse {
            name: self.name.clone(),
            cpu_seconds: now.cpu.saturating_sub(self.cpu).as_secs_f64(),
            peak_mib: peak_mib(self.id)?,
            hottest_thread: thread,
            hottest_share: hottest.as_secs_f64() / elapsed.as_secs_f64().max(1e-9),
        })
    }
}

/// The name and the CPU time in a stat file.
fn cpu_of(file: &str) -> Result<(String, Duration)> {
    let text = fs::read_to_string(file)?;
    // The name stands in parentheses and may hold any, so the fields are counted from the last.
    let (head, fields) = text.rsplit_once(") ").context("a stat file")?;
    let name = head.split_once('(').context("a stat file")?.1.to_owned();
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || -> Result<u32> { Ok(fields.next().context("a stat file")?.parse()?) };
    Ok((name, TICK * (ticks()? + ticks()?)))
}

fn peak_mib(id: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line
        .context("VmHWM")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib / 1_024.0)
}

/// How long the machine's cores were idle and busy, all together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    idle: f64,
    all: f64,
}

impl Machine {
    /// Since it started.
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat")?;
        let fields = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(str::parse::<f64>);
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        // user nice system idle iowait irq softirq steal
        Ok(Self {
            idle: fields[3] + fields[4],
            all: fields.iter().sum(),
        })
    }

    /// The share of all cores' time that was idle since then.
    pub(crate) fn idle_since(&self, before: &Self) -> f64 {
        (self.idle - before.idle) / (self.all - before.all).max(1.0)
    }
}
