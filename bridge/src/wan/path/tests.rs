//! In virtual time: what goes in, and when what comes out. Shares and rates hold within 1 %.

use super::*;
use crate::wan::{LINKS, Limit, Link};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn within_one_percent(measured: f64, expected: f64) {
    assert!(
        (measured - expected).abs() <= 0.01 * expected,
        "{measured} instead of {expected}"
    );
}

/// All that comes out, with its time, and nothing before its time.
fn drain(path: &mut Path<u64>) -> Vec<(Duration, u64)> {
    let mut out = Vec::new();
    while let Some(due) = path.next_at() {
        assert_eq!(path.leave(due - Duration::from_nanos(1)), None);
        out.extend(path.leave(due).map(|packet| (due, packet)));
    }
    out
}

fn balance(counters: &PathCounters, on_the_way: u64) {
    assert_eq!(
        counters.entered_packets + counters.duplicated_packets,
        counters.delivered_packets
            + counters.overflowed_packets
            + counters.policed_packets
            + counters.oversized_packets
            + counters.lost_packets
            + counters.cut_packets
            + on_the_way
    );
}

/// A sender that offers a tenth more than the link carries. Returns when the last bit of all has left the wire.
fn saturate(path: &mut Path<u64>, packets: u64, bytes: usize) -> Duration {
    let rate_bps = path.profile().rate_bps.unwrap();
    let mut now = Duration::ZERO;
    for packet in 0..packets {
        path.enter(now, bytes, packet);
        now += wire_time(bytes as u64, rate_bps) * 10 / 11;
        while path.leave(now).is_some() {}
    }
    now + path.backlog(now)
}

#[test]
fn a_plain_path_delivers_everything_in_order_after_the_delay() {
    let mut path = Path::new(
        Profile {
            delay: ms(40),
            ..Profile::default()
        },
        7,
    );
    for n in 0..100 {
        let due = ms(n + 40);
        assert_eq!(
            path.enter(ms(n), 1_000, n),
            Fate::Passes { due, wait: ms(0) }
        );
    }
    let expected: Vec<_> = (0..100).map(|n| (ms(n + 40), n)).collect();
    assert_eq!(drain(&mut path), expected);
    balance(&path.counters(), 0);
}

#[test]
fn every_named_link_has_its_rate_loss_burst_and_queue() {
    for link in LINKS {
        let mut path = Path::new(link.profile(), 42);
        let packets = if link.loss > 0.0 { 3_000_000 } else { 100_000 };
        let elapsed = saturate(&mut path, packets, 1_500);
        let counters = path.counters();
        within_one_percent(
            counters.passed_bytes as f64 * 8.0 / elapsed.as_secs_f64(),
            link.rate_bps as f64,
        );
        assert!(counters.overflowed_packets > 0, "{}", link.name);
        let queue = wire_time(link.queue_bytes(), link.rate_bps);
        assert!(
            counters.waited_max <= queue,
            "{}: {:?}",
            link.name,
            counters.waited_max
        );
        within_one_percent(
            (counters.waited_max + wire_time(1_500, link.rate_bps)).as_secs_f64(),
            queue.as_secs_f64(),
        );
        if link.loss > 0.0 {
            within_one_percent(
                counters.lost_packets as f64 / counters.passed_packets as f64,
                link.loss,
            );
            let mean_run = counters.lost_packets as f64 / counters.lost_runs as f64;
            within_one_percent(
                mean_run,
                if link.burst > 1.0 {
                    link.burst
                } else {
                    1.0 / (1.0 - link.loss)
                },
            );
        }
    }
}

#[test]
fn a_lone_packet_takes_the_delay_and_its_time_on_the_wire_on_every_link() {
    for link in LINKS.into_iter().filter(|link| link.jitter.is_zero()) {
        let mut path = Path::new(
            Profile {
                loss: 0.0,
                ..link.profile()
            },
            1,
        );
        let due = link.round_trip / 2 + wire_time(1_500, link.rate_bps);
        assert_eq!(
            path.enter(ms(0), 1_500, 0),
            Fate::Passes { due, wait: ms(0) }
        );
    }
}

#[test]
fn loss_is_the_same_for_the_same_seed_and_whatever_else_is_asked_for() {
    let lost = |seed, duplicate| {
        let profile = Profile {
            loss: 0.1,
            duplicate,
            ..Profile::default()
        };
        let mut path = Path::new(profile, seed);
        let fates = (0..10_000).map(|n| path.enter(ms(n), 100, n) == Fate::Lost);
        fates.collect::<Vec<_>>()
    };
    assert_eq!(lost(1, 0.0), lost(1, 0.5));
    assert_ne!(lost(1, 0.0), lost(2, 0.0));
}

#[test]
fn what_will_be_lost_has_used_the_wire() {
    let rate_bps = Some(8_000_000); // 1,000 bytes a millisecond
    let mut path = Path::new(
        Profile {
            rate_bps,
            loss: 0.5,
            ..Profile::default()
        },
        3,
    );
    for n in 0..50 {
        if let Fate::Passes { due, wait } = path.enter(ms(0), 1_000, n) {
            assert_eq!((due, wait), (ms(n + 1), ms(n)));
        }
    }
    assert!((10..40).contains(&path.counters().lost_packets));
    assert_eq!(path.backlog(ms(10)), ms(40));
}

#[test]
fn jitter_keeps_the_order_and_averages_to_half() {
    let profile = Profile {
        delay: ms(30),
        jitter: ms(30),
        ..Profile::default()
    };
    let mut path = Path::new(profile, 5);
    let (mut sum, mut least, mut most) = (Duration::ZERO, Duration::MAX, Duration::ZERO);
    let count = 2_000_000_u32;
    for n in 0..u64::from(count) {
        let now = Duration::from_micros(n * 700);
        let Fate::Passes { due, .. } = path.enter(now, 100, n) else {
            panic!("lost")
        };
        sum += due - now;
        least = least.min(due - now);
        most = most.max(due - now);
        assert!(
            path.on_the_way.back().is_some_and(|last| last.packet == n),
            "reordered"
        );
        while path.leave(now).is_some() {}
    }
    within_one_percent((sum / count).as_secs_f64(), ms(45).as_secs_f64());
    assert!(least >= ms(30) && least < ms(31) && most <= ms(60) && most > ms(59));
}

#[test]
fn only_the_stated_share_is_overtaken_and_doubled() {
    let profile = Profile {
        delay: ms(10),
        reorder: 0.05,
        reorder_by: ms(3),
        duplicate: 0.02,
        ..Profile::default()
    };
    let mut path = Path::new(profile, 11);
    let count = 1_000_000;
    let mut out = Vec::new();
    for n in 0..count {
        let now = ms(n);
        path.enter(now, 100, n);
        out.extend(std::iter::from_fn(|| path.leave(now)));
    }
    let counters = path.counters();
    within_one_percent(counters.reordered_packets as f64 / count as f64, 0.05);
    within_one_percent(counters.duplicated_packets as f64 / count as f64, 0.02);
    let overtaken = out.windows(2).filter(|pair| pair[1] < pair[0]).count();
    // A late packet between two late ones is not seen as a step back.
    assert!(overtaken as f64 > 0.04 * count as f64, "{overtaken}");
    balance(&counters, path.on_the_way.len() as u64);
}

#[test]
fn a_policer_drops_what_exceeds_the_rate_and_delays_nothing() {
    let profile = Profile {
        rate_bps: Some(8_000_000),
        queue: Limit::Bytes(10_000),
        is_policed: true,
        ..Profile::default()
    };
    let mut path = Path::new(profile, 1);
    let fates: Vec<_> = (0..12).map(|n| path.enter(ms(0), 1_000, n)).collect();
    assert_eq!(
        fates.iter().filter(|fate| **fate == Fate::Policed).count(),
        2
    );
    assert_eq!(
        fates[9],
        Fate::Passes {
            due: ms(0),
            wait: ms(0)
        }
    );
    // Twice the rate for a minute: half of it passes.
    for n in 0..120_000 {
        path.enter(ms(100) + Duration::from_micros(500 * n), 1_000, n);
    }
    within_one_percent(path.counters().passed_packets as f64, 60_020.0);
}

#[test]
fn what_is_larger_than_the_mtu_does_not_pass() {
    let mut path = Path::new(
        Profile {
            mtu: 1_400,
            ..Profile::default()
        },
        1,
    );
    assert_eq!(path.enter(ms(0), 1_401, 0), Fate::Oversized);
    assert_ne!(path.enter(ms(0), 1_400, 1), Fate::Oversized);
}

#[test]
fn a_cut_loses_what_is_on_its_way_and_what_comes_until_it_ends() {
    let mut path = Path::new(
        Profile {
            delay: ms(40),
            ..Profile::default()
        },
        7,
    );
    path.enter(ms(0), 100, 1);
    path.cut(ms(50));
    assert_eq!(path.enter(ms(49), 100, 2), Fate::Cut);
    path.enter(ms(50), 100, 3);
    assert_eq!(drain(&mut path), [(ms(90), 3)]);
    path.cut(Duration::MAX);
    assert_eq!(path.enter(ms(1_000_000), 100, 4), Fate::Cut);
    path.heal();
    assert_ne!(path.enter(ms(1_000_000), 100, 5), Fate::Cut);
    assert_eq!(path.counters().cut_packets, 3);
    balance(&path.counters(), 1);
}

#[test]
fn a_change_of_rate_holds_for_what_waits_and_not_for_what_has_left() {
    let fast = Profile {
        delay: ms(10),
        rate_bps: Some(8_000_000),
        ..Profile::default()
    };
    let mut path = Path::new(fast, 1);
    for n in 0..4 {
        path.enter(ms(0), 1_000, n); // leaves the wire at 1, 2, 3, 4 ms
    }
    path.change(
        ms(2),
        Profile {
            rate_bps: Some(4_000_000),
            ..fast
        },
    );
    assert_eq!(path.backlog(ms(2)), ms(4));
    assert_eq!(
        drain(&mut path),
        [(ms(11), 0), (ms(12), 1), (ms(14), 2), (ms(16), 3)]
    );
}

#[test]
fn a_delay_that_becomes_shorter_does_not_reorder() {
    let long = Profile {
        delay: ms(100),
        ..Profile::default()
    };
    let mut path = Path::new(long, 1);
    path.enter(ms(0), 100, 0);
    path.change(
        ms(10),
        Profile {
            delay: ms(10),
            ..long
        },
    );
    path.enter(ms(20), 100, 1);
    path.enter(ms(95), 100, 2);
    assert_eq!(drain(&mut path), [(ms(100), 0), (ms(100), 1), (ms(105), 2)]);
}

#[test]
fn a_minute_of_a_modem_is_fifty_kilobits_a_second() {
    let link = Link::named("modem").unwrap();
    let mut path = Path::new(link.profile(), 1);
    let elapsed = saturate(&mut path, 10_000, 300);
    within_one_percent(
        path.counters().passed_bytes as f64 * 8.0 / elapsed.as_secs_f64(),
        50_000.0,
    );
}
