//! The limit against a path in virtual time: the link stays busy, and little waits for it.

mod large;

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::frame::LaneClass;
use crate::id::LaneId;
use crate::lanes::Schedule;

const MTU: u64 = 1400;
const BATCH: u64 = 20_000;

/// A path at a fixed rate whose sender always has more: what the link did and what waited.
struct Outcome {
    /// Share of the time that the wire was busy, after the first second, in percent.
    busy: f64,
    /// Bytes written and not yet on the wire: mean and most, in milliseconds of the rate.
    unsent_mean_ms: f64,
    unsent_max_ms: f64,
}

/// A batch on its way: packets not yet sent the first time, and acknowledgements awaited.
struct Batch {
    written: Option<Written>,
    unacked: u64,
}

fn run(rate: u64, rtt: Duration, loss_every: u64, declared: bool) -> Outcome {
    let mut backlog = Backlog::new();
    let packet_time = Duration::from_nanos(MTU * 1_000_000_000 / rate);
    let window = times(rate, rtt) * 5 / 2;
    let (mut now, mut sent, mut lost) = (Duration::ZERO, 0_u64, 0_u64);
    let mut batches: Vec<Batch> = Vec::new();
    // Packets that wait, by batch; and acknowledgements or losses on their way back.
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let mut repairs: VecDeque<usize> = VecDeque::new();
    let mut coming: BTreeMap<(Duration, u64), (usize, bool)> = BTreeMap::new();
    let (mut slots, mut busy, mut unsent_sum, mut unsent_max) = (0_u64, 0_u64, 0_u64, 0_u64);
    let end = Duration::from_secs(8);
    let mut path_at = Duration::ZERO;
    while now < end {
        if now >= path_at {
            path_at = now + Duration::from_millis(5);
            backlog.handle_path(&PathView {
                rtt,
                window,
                rate: declared.then_some(rate),
                sent: sent * MTU,
                packets_sent: sent,
                packets_lost: lost,
                mtu: MTU,
            });
        }
        while let Some(((at, _), _)) = coming.first_key_value()
            && *at <= now
        {
            let (_, (index, ok)) = coming.pop_first().expect("there is one");
            if ok {
                batches[index].unacked -= 1;
                if batches[index].unacked == 0 {
                    let written = batches[index].written.take().expect("only now");
                    backlog.handle_delivered(written);
                }
            } else {
                repairs.push_back(index);
            }
        }
        while backlog.room().any > 0 {
            let packets = BATCH.div_ceil(MTU);
            let len = packets * MTU;
            backlog.handle_written(LaneClass::Bulk, len as usize);
            batches.push(Batch {
                written: Some(backlog.handle_finished(LaneClass::Bulk)),
                unacked: packets,
            });
            waiting.extend(std::iter::repeat_n(batches.len() - 1, packets as usize));
        }
        if let Some(index) = repairs.pop_front().or_else(|| waiting.pop_front()) {
            sent += 1;
            let dies = loss_every > 0 && sent % loss_every == loss_every / 2;
            lost += u64::from(dies);
            // A loss is noticed by what is acknowledged behind it.
            let after = if dies { rtt + 4 * packet_time } else { rtt };
            coming.insert((now + after, sent), (index, !dies));
            busy += u64::from(now > Duration::from_secs(1));
        }
        if now > Duration::from_secs(1) {
            slots += 1;
            let unsent = waiting.len() as u64 * MTU;
            unsent_sum += unsent;
            unsent_max = unsent_max.max(unsent);
        }
        now += packet_time;
    }
    let ms = |bytes: f64| bytes * 1000.0 / rate as f64;
    Outcome {
        busy: busy as f64 * 100.0 / slots as f64,
        unsent_mean_ms: ms(unsent_sum as f64 / slots as f64),
        unsent_max_ms: ms(unsent_max as f64),
    }
}

/// 10 Mbit/s, 20 Mbit/s, 100 Mbit/s in bytes a second.
const RATES: [u64; 3] = [1_250_000, 2_500_000, 12_500_000];

#[test]
fn the_link_is_never_dry_and_little_waits_for_it() {
    for rate in RATES {
        for rtt_ms in [20, 100, 300] {
            let rtt = Duration::from_millis(rtt_ms);
            let outcome = run(rate, rtt, 0, true);
            let bound = 25.0 + rtt_ms as f64 * 0.1 + 3.0 * BATCH as f64 * 1000.0 / rate as f64;
            assert!(
                outcome.busy > 99.9,
                "{rate} {rtt_ms}: busy {}",
                outcome.busy
            );
            assert!(
                outcome.unsent_max_ms < bound + 10.0,
                "{rate} {rtt_ms}: {} ms wait",
                outcome.unsent_max_ms
            );
        }
    }
}

#[test]
fn loss_neither_dries_the_link_nor_lets_much_more_wait() {
    for rate in RATES {
        for (rtt_ms, every) in [(100, 1000), (100, 100), (100, 20), (300, 100)] {
            let outcome = run(rate, Duration::from_millis(rtt_ms), every, true);
            assert!(
                outcome.busy > 99.0,
                "{rate} {rtt_ms} 1/{every}: busy {}",
                outcome.busy
            );
            let bound = 60.0 + rtt_ms as f64 * 0.6;
            assert!(
                outcome.unsent_mean_ms < bound,
                "{rate} {rtt_ms} 1/{every}: {} ms wait",
                outcome.unsent_mean_ms
            );
        }
    }
}

#[test]
fn without_a_declared_rate_the_window_is_the_measure() {
    let outcome = run(12_500_000, Duration::from_millis(100), 0, false);
    assert!(outcome.busy > 99.9, "busy {}", outcome.busy);
}

#[test]
fn chunks_and_bursts_follow_the_rate() {
    let mut backlog = Backlog::new();
    let mut at = |rate: u64| {
        backlog.handle_path(&PathView {
            rtt: Duration::from_millis(100),
            window: rate,
            rate: Some(rate),
            sent: 0,
            packets_sent: 0,
            packets_lost: 0,
            mtu: MTU,
        });
        backlog.pace()
    };
    assert_eq!(at(6_250).chunk_len_max, CHUNK_LEN_MIN, "50 kbit/s");
    assert_eq!(at(1_250_000).chunk_len_max, 6_250, "10 Mbit/s");
    assert_eq!(at(125_000_000).chunk_len_max, CHUNK_LEN_MAX, "1 Gbit/s");
    assert_eq!(at(1_250_000).live_burst_max, 250_000);
}

/// Many lanes with large batches over a path that holds less than one of them: batches are
/// acknowledged whole, so whole ones have to leave. Counts those that did within so many chunks.
fn batches_through(lanes: u32, batch: usize, limit_rate: u64) -> usize {
    let mut schedule = Schedule::new();
    let mut backlog = Backlog::new();
    let mut view = PathView {
        rtt: Duration::from_millis(100),
        window: limit_rate / 10,
        rate: None,
        sent: 0,
        packets_sent: 0,
        packets_lost: 0,
        mtu: MTU,
    };
    for number in 0..lanes {
        schedule.offer(LaneId(number), LaneClass::Bulk, batch);
    }
    let (mut through, mut unacknowledged) = (0, VecDeque::new());
    for _ in 0..100_000 {
        backlog.handle_path(&view);
        schedule.set_pace(backlog.pace());
        match schedule.poll_chunk(backlog.room()) {
            Some(chunk) => {
                backlog.handle_written(LaneClass::Bulk, chunk.len);
                view.sent += chunk.len as u64;
                if chunk.last {
                    unacknowledged.push_back(backlog.handle_finished(LaneClass::Bulk));
                    schedule.offer(chunk.lane, LaneClass::Bulk, batch);
                }
                // Nor does everything that is on offer go into the connection for that.
                let chunk_max = backlog.pace().chunk_len_max as u64;
                assert!(backlog.counted() <= backlog.limit + chunk_max);
            }
            None => {
                let Some(written) = unacknowledged.pop_front() else {
                    break;
                };
                through += 1;
                backlog.handle_delivered(written);
            }
        }
    }
    through
}

#[test]
fn batches_larger_than_the_path_leave_all_the_same() {
    assert!(batches_through(1, 256 * 1024, 100_000) > 100);
}

#[test]
fn many_lanes_do_not_stop_each_other_half_way() {
    assert!(batches_through(300, 64 * 1024, 1_000_000) > 100);
}

#[test]
fn what_was_begun_while_the_path_was_larger_is_finished() {
    let mut view = PathView {
        rtt: Duration::from_millis(100),
        window: 4 << 20,
        rate: None,
        sent: 0,
        packets_sent: 0,
        packets_lost: 0,
        mtu: MTU,
    };
    let (mut schedule, mut backlog) = (Schedule::new(), Backlog::new());
    for (number, class) in LaneClass::ALL.iter().enumerate() {
        schedule.offer(LaneId(number as u32), *class, 1 << 20);
    }
    let (mut left, mut unacknowledged) = (3, VecDeque::new());
    for step in 0..20_000 {
        backlog.handle_path(&view);
        schedule.set_pace(backlog.pace());
        match schedule.poll_chunk(backlog.room()) {
            Some(chunk) => {
                let class = LaneClass::ALL[chunk.lane.0 as usize];
                backlog.handle_written(class, chunk.len);
                view.sent += chunk.len as u64;
                if chunk.last {
                    unacknowledged.push_back(backlog.handle_finished(class));
                }
            }
            None => {
                let Some(written) = unacknowledged.pop_front() else {
                    break;
                };
                backlog.handle_delivered(written);
                left -= 1;
            }
        }
        // All three have begun.
        if step == 100 {
            view.window = 3000;
        }
    }
    assert_eq!((left, backlog.outstanding, backlog.arrived), (0, 0, 0));
}
