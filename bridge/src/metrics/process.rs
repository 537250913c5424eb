//! What the process costs, as the kernel counts it. Absent where there is no `/proc`.

/// Kernel clock ticks a second, as `/proc` counts; 100 on every Linux that runs servers.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    pub(super) cpu_seconds: f64,
}

pub(super) fn usage() -> Option<Usage> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    Some(Usage {
        resident_bytes: resident_bytes(&status)?,
        cpu_seconds: cpu_seconds(&stat)?,
    })
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The process's name stands in parentheses and may hold anything; fields are counted behind it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read_right() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 1 0 5 1000 2";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(
            resident_bytes("Name:\tx\nVmRSS:\t   12 kB\n"),
            Some(12 * 1024)
        );
        assert!(usage().is_none_or(|usage| usage.resident_bytes > 0));
    }
}
