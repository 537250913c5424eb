//! Random worlds: what a seed draws must break no invariant.
//!
//! Each run draws where it begins. `CAUSEWAY_SEEDS=N` tries so many, `CAUSEWAY_FIRST_SEED=K` begins there; a
//! failure names its seed and how to see it again, and the seed then joins those of `seeds.rs`.

use causeway_tests::world::{Options, World};

const SEEDS_DEFAULT: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

fn live(seed: u64, loud: bool) {
    let options = Options::drawn(seed);
    let world = World::new(options.clone());
    let mut world = if loud { world.loud() } else { world };
    if let Err(broken) = world.live() {
        for line in broken
            .trace
            .iter()
            .rev()
            .take(if loud { 0 } else { 40 })
            .rev()
        {
            println!("{line}");
        }
        println!("{options:#?}");
        panic!(
            "at {:?}: {}\nSEED={seed} cargo test -p causeway-tests --test simulation -- one_seed --nocapture",
            broken.at, broken.what
        );
    }
}

#[test]
fn random_seeds() {
    let count = number("CAUSEWAY_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let first = number("CAUSEWAY_FIRST_SEED").unwrap_or_else(|| rand::random_range(0..1 << 40));
    println!("seeds {first} to {}", first + count - 1);
    let mut failed = Vec::new();
    for seed in first..first + count {
        if std::panic::catch_unwind(|| live(seed, false)).is_err() {
            failed.push(seed);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {count} seeds failed: {failed:?}",
        failed.len()
    );
}

#[test]
fn one_seed() {
    if let Some(seed) = number("SEED") {
        live(seed, true);
    }
}
