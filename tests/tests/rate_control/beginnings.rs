//! The first seconds of a connection whose rate nobody declared.

use causeway::link::DeclaredRate;
use causeway_tests::link_bed::{Bed, Load};

use super::{ms, secs};

/// The first six seconds without a declared rate, handshake included: share of the link, and of packets dropped.
fn beginning(name: &str, seed: u64) -> (f64, f64) {
    let (mut bed, link) = Bed::named(name, seed);
    bed.connect(&DeclaredRate::default());
    let stretch = bed.run(secs(6));
    let (share, dropped) = (
        stretch.of_ideal(link.rate_bps, link.loss),
        stretch.dropped(),
    );
    println!("{name} seed {seed}: {share:.3}, dropped {dropped:.4}");
    (share, dropped)
}

#[test]
fn a_beginning_finds_the_rate_in_a_few_round_trips() {
    // Two round trips are gone before the first byte; of satellite's ten that is a fifth.
    let least = [
        ("atlantic", 0.85),
        ("lossy", 0.85),
        ("thin", 0.88),
        ("bursty", 0.78),
        ("satellite", 0.45),
    ];
    for (name, least) in least {
        for seed in 0..4 {
            let (share, dropped) = beginning(name, seed);
            assert!(share >= least, "{name} seed {seed}: {share:.3}");
            assert!(dropped < 0.02, "{name} seed {seed}: {dropped:.4}");
        }
    }
}

#[test]
fn a_beginning_under_jitter_may_take_a_little_longer() {
    let shares: Vec<f64> = (0..40).map(|seed| beginning("lte", seed).0).collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    println!("lte {mean:.3}");
    assert!(mean >= 0.82);
    assert!(shares.iter().all(|share| *share >= 0.55));
}

#[test]
fn a_beginning_does_not_flood_a_path_of_fifty_kilobits() {
    let (share, dropped) = beginning("modem", 0);
    assert!(share >= 0.7);
    // What of the first train finds no room in a queue of ten packets, and nothing after it.
    assert!(dropped < 0.7);
    let (mut bed, _) = Bed::named("modem", 0);
    bed.connect(&DeclaredRate::default());
    bed.run(secs(6));
    assert!(bed.run(secs(30)).dropped() < 0.05);
}

#[test]
fn a_beginning_that_waits_for_credit_does_not_fill_the_queue() {
    for credit in [3 << 20, 4 << 20, 8 << 20] {
        let (mut bed, link) = Bed::named("lossy", 23);
        let connection = bed.connect(&DeclaredRate::default());
        bed.load(connection, Load::Credit(credit));
        let beginning = bed.run(secs(4));
        let stretch = bed.run(secs(10));
        println!(
            "credit {credit}: beginning {:.3} dropped {:.4}; then {:.3} {:?} {:.4}",
            beginning.of_ideal(link.rate_bps, link.loss),
            beginning.dropped(),
            stretch.of_ideal(link.rate_bps, link.loss),
            stretch.queue_mean(),
            stretch.dropped()
        );
        assert!(beginning.of_ideal(link.rate_bps, link.loss) >= 0.6);
        assert!(beginning.dropped() < 0.03);
        assert!(stretch.of_ideal(link.rate_bps, link.loss) >= 0.85);
        assert!(stretch.queue_mean() < ms(10));
        assert!(stretch.dropped() < 0.01);
    }
}

#[test]
fn a_quiet_beginning_does_not_make_the_path_look_narrow() {
    for seed in 0..20 {
        let (mut bed, link) = Bed::named("lossy", seed);
        let connection = bed.connect(&DeclaredRate::default());
        let every = ms([7, 20, 50, 400][seed as usize % 4]);
        bed.load(connection, Load::Trickle { len: 400, every });
        bed.run(secs(10));
        let pace = bed.pace(connection);
        assert!(pace >= 500_000, "seed {seed}: {pace} bit/s");
        bed.load(connection, Load::Saturating);
        bed.run(secs(4));
        let share = bed.run(secs(4)).of_ideal(link.rate_bps, link.loss);
        println!("seed {seed}: {pace} bit/s, then {share:.3}");
        assert!(share >= 0.85, "seed {seed}: {share:.3}");
    }
}

#[test]
fn a_declared_rate_is_not_given_up_for_jitter() {
    // Among them some whose delay wanders up for half a second, as a queue's would.
    for seed in (1..=90).chain([255, 298, 320, 340]) {
        let (mut bed, link) = Bed::named("lte", seed);
        bed.connect(&DeclaredRate::new(Some(link.rate_bps)));
        bed.run(ms(400));
        let stretch = bed.run(secs(6));
        let share = stretch.of_ideal(link.rate_bps, link.loss);
        println!("lte seed {seed}: {share:.3}, {:?}", stretch.queue_mean());
        assert!(share >= 0.85, "seed {seed}: {share:.3}");
        assert!(stretch.queue_mean() < ms(10), "seed {seed}");
    }
}
