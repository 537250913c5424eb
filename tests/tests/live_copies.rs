//! Live records over links that lose packets, in virtual time: what the plan of copies makes of their latency.
//!
//! A record is a batch in one packet, and waits for those before it. What neither the stream's packet nor a copy brings is
//! repaired by QUIC one and a half round trips after it was sent. Ten minutes at 500 records a second, so that a p99.9 says something.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway::wan::{Fate, Link, Path};
use causeway_proto::copies::{LivePath, LossMeter, PathTotals};

const RECORDS: u64 = 300_000;
const PER_SECOND: u64 = 500;
const PACKET_LEN: usize = 250;

struct Trial {
    link: Link,
    /// How long each record took, sorted.
    times: Vec<Duration>,
    /// Records of which neither the stream's packet nor a copy came.
    repaired: usize,
}

fn live(name: &str, seed: u64) -> Trial {
    let link = Link::named(name).expect("a link of that name");
    let mut path = Path::new(link.profile(), seed);
    let mut meter = LossMeter::new(Duration::ZERO);
    let mut leaving: BTreeMap<(Duration, u64), usize> = BTreeMap::new();
    let mut arrived: Vec<Option<Duration>> = Vec::new();
    let sent_at = |record: u64| Duration::from_millis(record * 1_000 / PER_SECOND);
    let live_path = LivePath {
        packet_time: Duration::from_secs_f64(1_500.0 * 8.0 / link.rate_bps as f64),
        round_trip: link.round_trip,
        batches: PER_SECOND as f64,
    };
    let mut numbered = 0;
    for record in 0..RECORDS {
        let now = sent_at(record);
        if record % PER_SECOND == 0 {
            let counted = path.counters();
            let totals = PathTotals {
                sent: counted.passed_packets,
                lost: counted.lost_packets,
                occasions: counted.lost_runs,
            };
            meter.observe(now, totals);
        }
        while let Some(entry) = leaving.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), record) = entry.remove_entry();
            if let Fate::Passes { due, .. } = path.enter(at, PACKET_LEN, ()) {
                let first: &mut Option<Duration> = &mut arrived[record];
                *first = Some(first.map_or(due, |before| before.min(due)));
            }
            while path.leave(at).is_some() {}
        }
        let index = arrived.len();
        arrived.push(None);
        let mut send = |at| {
            numbered += 1;
            leaving.insert((at, numbered), index);
        };
        send(now);
        if let Some(plan) = meter.plan(&live_path) {
            for copy in 0..plan.copies {
                send(now + plan.first + plan.spacing * copy);
            }
        }
    }
    arrived.truncate((RECORDS - PER_SECOND) as usize); // copies of the last are under way
    let repaired = arrived.iter().filter(|it| it.is_none()).count();
    let mut before = Duration::ZERO;
    let mut times: Vec<Duration> = (0..RECORDS)
        .zip(arrived)
        .map(|(record, arrived)| {
            let sent = sent_at(record);
            before = before.max(arrived.unwrap_or(sent + link.round_trip * 3 / 2));
            before - sent
        })
        .collect();
    times.sort_unstable();
    Trial {
        link,
        times,
        repaired,
    }
}

fn percentile(times: &[Duration], share: f64) -> Duration {
    times[(times.len() as f64 * share) as usize]
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_lost_packet_costs_milliseconds() {
    for (name, seed) in [("lossy", 1), ("lossy", 2), ("thin", 3), ("atlantic", 4)] {
        let Trial { link, times, .. } = live(name, seed);
        let late = |share| percentile(&times, share) - link.round_trip / 2;
        let all = [0.5, 0.99, 0.999].map(late);
        println!("{name}: p50, p99, p99.9 later than one way by {all:?}");
        assert!(all[0] <= ms(5), "{name}: p50 {all:?}");
        assert!(all[1] <= ms(15), "{name}: p99 {all:?}");
        assert!(all[2] <= ms(60), "{name}: p99.9 {all:?}");
    }
}

/// Where losses come in bursts, copies must lie so far apart that few records lose all of theirs: a hundred others
/// wait for each that does, so that one in ten seconds is already seen in their p99.
#[test]
fn bursts_of_loss_take_few_records_with_all_their_copies() {
    let mut repaired = 0;
    for seed in 1..=10 {
        let trial = live("bursty", seed);
        let p99 = percentile(&trial.times, 0.99);
        println!("bursty: p99 {p99:?}, repaired {}", trial.repaired);
        assert!(p99 <= trial.link.round_trip, "p99 {p99:?}");
        repaired += trial.repaired;
    }
    assert!(repaired <= 10, "{repaired} in a hundred minutes");
}
