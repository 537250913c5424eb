//! Seeds that once failed, each with what it showed. See one again with
//! `SEED=… cargo test -p causeway-tests --test simulation -- one_seed --nocapture`.

use causeway_tests::world::{Options, World};

const ONCE_FAILED: [(u64, &str); 20] = [
    (
        384_528_447_465,
        "a target that went back under a run kept the run's end and was believed to have all of it",
    ),
    (
        2,
        "a Rejected frame lost with its session lost the record without an outcome",
    ),
    (
        31,
        "the ack of one batch counted records of the next, and the source refused it",
    ),
    (
        109,
        "records of a lost lane were published ahead of what the target had lost",
    ),
    (
        434,
        "a target made anew was read to from where the source had last gone back",
    ),
    (
        728,
        "the source went back further before the target had heard of the new epoch",
    ),
    (
        1_520_378_524,
        "a target made anew did not get what is older than the source's last roll-back",
    ),
    (
        100_247,
        "records passed by arithmetic were passed again after the next reconciliation",
    ),
    (
        102_345,
        "the same, after nothing but crashes of a server and a bridge",
    ),
    (
        101_953,
        "a source made anew twice before anything of the new epoch was settled",
    ),
    (
        101_830,
        "a source rolled back to nothing twice, and the beginning of the epoch proved nothing",
    ),
    (
        100_327,
        "the oracle itself believed a killed source that it still knew its epoch",
    ),
    (
        105_492,
        "the oracle took a resume point for younger than the power cut that came while it travelled",
    ),
    (
        106_317_942_194,
        "a target put back twice, the second time under a run, showed that run's end, and lost its middle",
    ),
    (
        900_068,
        "what was known of one target was kept under the name of the next, which was being looked at",
    ),
    (
        504_299,
        "what a run had put over a hole came in part behind later records, as the duplicate window ended meanwhile",
    ),
    (601_444, "the same in a target of which nothing was left"),
    (
        610_532,
        "a target that went back was not noticed any more once its source had begun an epoch",
    ),
    (
        603_052,
        "the oracle took a route that began further back, slowly, for one that stood still",
    ),
    (
        742_410_007_297,
        "a run that met its own records took new ones along each time it was sent again, and never came to rest",
    ),
];

#[test]
fn seeds_that_once_failed() {
    for (seed, what) in ONCE_FAILED {
        let broken = World::new(Options::drawn(seed)).live().err();
        assert!(
            broken.is_none(),
            "SEED={seed} ({what}) fails again: {}",
            broken.unwrap().what
        );
    }
}
