//! Paths that change, police, jitter, are shared or were declared wrongly.

use causeway::link::{DeclaredRate, PathHints};
use causeway::wan::{Limit, Link, Profile};
use causeway_proto::rate::Mode;
use causeway_tests::link_bed::{Bed, Load};

use super::{ms, secs};

#[test]
fn nine_tenths_declared_lose_nothing_in_the_queue() {
    for name in ["lossy", "thin"] {
        let link = Link::named(name).unwrap();
        // Room for four packets: what a shallow switch has.
        let profile = Profile {
            queue: Limit::Bytes(4 * 1500),
            ..link.profile()
        };
        let mut bed = Bed::new(profile, 3);
        bed.connect(&DeclaredRate::new(Some(link.rate_bps / 10 * 9)));
        let stretch = bed.run(secs(20));
        assert_eq!(stretch.path.overflowed_packets, 0, "{name}");
        assert!(stretch.of_ideal(link.rate_bps / 10 * 9, link.loss) >= 0.9);
    }
}

#[test]
fn a_link_that_shrinks_is_followed_and_its_recovery_too() {
    for rate in [Some(100_000_000), None] {
        let (mut bed, link) = Bed::named("lossy", 5);
        bed.connect(&DeclaredRate::new(rate));
        bed.run(secs(10));
        let half = Profile {
            rate_bps: Some(50_000_000),
            ..link.profile()
        };
        bed.change(half);
        bed.run(secs(3));
        let shrunk = bed.run(secs(10));
        println!(
            "shrunk {:.3} {:?} {:.4}",
            shrunk.of_ideal(50_000_000, 0.01),
            shrunk.queue_mean(),
            shrunk.dropped()
        );
        assert!(shrunk.of_ideal(50_000_000, 0.01) >= 0.9);
        assert!(shrunk.queue_mean() < ms(20));
        assert!(shrunk.dropped() < 0.02);
        bed.change(link.profile());
        bed.run(secs(5));
        let again = bed.run(secs(10));
        println!(
            "again {:.3} {:?}",
            again.of_ideal(100_000_000, 0.01),
            again.queue_mean()
        );
        assert!(again.of_ideal(100_000_000, 0.01) >= 0.9);
    }
}

#[test]
fn a_link_that_shrinks_while_its_queue_is_drained_is_followed() {
    // Most of these are giving way to a queue of 10 ms when the link shrinks, and see it grow for it.
    for seed in 2000..2012 {
        let (mut bed, link) = Bed::named("lossy", seed);
        bed.connect(&DeclaredRate::default());
        bed.run(secs(10));
        bed.change(Profile {
            rate_bps: Some(50_000_000),
            ..link.profile()
        });
        let first = bed.run(secs(3)).queue_mean();
        let then = bed.run(secs(10));
        println!("seed {seed}: {first:?}, then {:?}", then.queue_mean());
        assert!(first < ms(80), "seed {seed}: {first:?}");
        assert!(then.queue_mean() < ms(10), "seed {seed}");
        assert!(then.of_ideal(50_000_000, 0.01) >= 0.95, "seed {seed}");
    }
}

#[test]
fn a_policer_is_found_behind_its_losses() {
    let profile = Profile {
        delay: ms(50),
        rate_bps: Some(50_000_000),
        queue: Limit::Time(ms(3)),
        is_policed: true,
        ..Profile::default()
    };
    for rate in [Some(75_000_000), None] {
        let mut bed = Bed::new(profile, 7);
        bed.connect(&DeclaredRate::new(rate));
        bed.run(secs(10));
        let stretch = bed.run(secs(30));
        println!(
            "policer {rate:?} {:.3} {:.4}",
            stretch.of_ideal(50_000_000, 0.0),
            stretch.dropped()
        );
        assert!(stretch.of_ideal(50_000_000, 0.0) >= 0.9);
        assert!(stretch.dropped() < 0.08);
    }
}

#[test]
fn a_rate_declared_half_too_high_settles_at_the_link() {
    for queue in [ms(50), ms(400)] {
        let link = Link::named("lossy").unwrap();
        let profile = Profile {
            queue: Limit::Time(queue),
            ..link.profile()
        };
        let mut bed = Bed::new(profile, 11);
        bed.connect(&DeclaredRate::new(Some(link.rate_bps / 2 * 3)));
        bed.run(secs(5));
        let stretch = bed.run(secs(20));
        let share = stretch.of_ideal(link.rate_bps, link.loss);
        println!(
            "over {queue:?} {share:.3} {:?} {:.4}",
            stretch.queue_mean(),
            stretch.dropped()
        );
        assert!(share >= 0.9);
        assert!(stretch.queue_mean() < ms(15));
        assert!(stretch.dropped() < 0.02);
    }
}

#[test]
fn a_scavenger_gives_way_and_takes_what_is_left() {
    let (mut bed, link) = Bed::named("lossy", 13);
    let scavenger = DeclaredRate::new(Some(link.rate_bps));
    scavenger.set_mode(Mode::Scavenger);
    bed.connect(&scavenger);
    let alone = bed.run(secs(30)).of_ideal(link.rate_bps, link.loss);
    bed.connect(&DeclaredRate::new(Some(link.rate_bps)));
    bed.run(secs(10));
    let both = bed.run_all(secs(20));
    let [scavenged, declared] = [both[0], both[1]].map(|s| s.of_ideal(link.rate_bps, link.loss));
    println!(
        "scavenger alone {alone:.3}, beside {scavenged:.3}, declared {declared:.3}, {:?}",
        both[0].queue_mean()
    );
    assert!(alone >= 0.6);
    assert!(scavenged <= 0.1);
    assert!(declared >= 0.88);
}

#[test]
fn a_rate_changed_while_running_is_kept() {
    let (mut bed, _) = Bed::named("atlantic", 19);
    let rate = DeclaredRate::new(Some(20_000_000));
    bed.connect(&rate);
    bed.run(secs(5));
    for bits in [5_000_000, 60_000_000] {
        rate.set(Some(bits));
        bed.run(secs(2));
        let share = bed.run(secs(10)).of_ideal(bits, 0.001);
        assert!((0.95..=1.03).contains(&share), "{bits}: {share:.3}");
    }
}

#[test]
fn jitter_under_fresh_records_is_no_queue() {
    for seed in 0..6 {
        let (mut bed, link) = Bed::named("lte", seed);
        let connection = bed.connect(&DeclaredRate::default());
        // 2 Mbit/s of a link of 20.
        let load = Load::Trickle {
            len: 600,
            every: ms(2),
        };
        bed.load(connection, load);
        for _ in 0..20 {
            let stretch = bed.run(secs(1));
            assert!(
                stretch.goodput() > 1_800_000.0 || bed.now() < secs(3),
                "seed {seed}"
            );
        }
        bed.load(connection, Load::Saturating);
        bed.run(secs(10));
        let share = bed.run(secs(10)).of_ideal(link.rate_bps, link.loss);
        println!("lte seed {seed}: {share:.3}");
        assert!(share >= 0.85, "seed {seed}: {share:.3}");
    }
}

#[test]
fn fresh_batches_do_not_wait_for_one_that_is_half_way() {
    let link = Link::named("thin").unwrap();
    let profile = Profile {
        loss: 0.0,
        ..link.profile()
    };
    let mut bed = Bed::new(profile, 29);
    let connection = bed.connect(&DeclaredRate::new(Some(link.rate_bps)));
    bed.load(connection, Load::Both { every: ms(20) });
    bed.run(secs(5));
    let delays = bed.delays(connection);
    let worst = delays.iter().max().unwrap();
    println!("{} fresh batches, the slowest {worst:?}", delays.len());
    assert!(delays.len() > 200);
    // Two packets in the shaper, one on the wire, and the queue that the bucket's burst makes.
    assert!(*worst < link.round_trip / 2 + ms(8), "{worst:?}");
}

#[test]
fn a_gigabit_over_a_long_lossy_path_keeps_its_connection() {
    let profile = Profile {
        delay: ms(150),
        rate_bps: Some(1_000_000_000),
        loss: 0.05,
        ..Profile::default()
    };
    let mut bed = Bed::new(profile, 17);
    bed.connect_over(&PathHints {
        rate: DeclaredRate::new(Some(1_000_000_000)),
        rtt: Some(ms(300)),
        ..PathHints::default()
    });
    bed.run(secs(2));
    let stretch = bed.run(secs(3));
    println!("gigabit {:.3}", stretch.of_ideal(1_000_000_000, 0.05));
    assert!(bed.stands());
    assert!(stretch.goodput() > 0.0);
}
