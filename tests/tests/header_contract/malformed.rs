//! Blocks that are not as they should be: servers store them, so they must be carried.

use anyhow::Result;
use causeway_tests::raw_nats::Stored;

use crate::world::{PAYLOAD, Release, World, code_of, on_both, seq_of};

/// Behind a version line; each is stored as it is, by both releases.
const LINES: &[&[u8]] = &[
    b"no colon\r\n\r\n",
    b"\xff\xfe: not UTF-8\r\n\r\n",
    b"bad name : v\r\n\r\n",
    b": no name\r\n\r\n",
    b"A: \0\r\n\r\n",
    b"A: 1",
    b"A: 1\r\n",
    b"A: 1\nB: 2\r\n\r\n",
    b"A: 1\nNats-Rollup: all\r\n\r\n",
    b"   \r\n\r\n",
    b"A: 1\r\n   \r\n\r\n",
    b"A: 1\r\n folded\r\n\tand more\r\n\r\n",
    b"A: 1\r\n\r\ntail",
    b"A: 1\r\n\r\nB: 2\r\n\r\n",
];

/// Without a version line, or with one that is not quite.
const BLOCKS: &[&[u8]] = &[
    b"HELLO\r\nA: 1\r\n\r\n",
    b"A: 1\r\n\r\n",
    b"NATS/1.1\r\nA: 1\r\n\r\n",
    b"x",
    b"NATS/1.0\rA\r\n\r\n",
];

#[test]
fn what_a_server_stores_is_carried_unharmed() -> Result<()> {
    on_both(|world| {
        world.source(&[])?;
        let lines = LINES
            .iter()
            .map(|lines| (["NATS/1.0\r\n".as_bytes(), lines].concat(), *lines));
        let blocks = BLOCKS.iter().map(|block| (block.to_vec(), *block));
        for (block, want) in lines.chain(blocks) {
            let record = world.at_source(&block, PAYLOAD)?;
            assert_eq!(record.headers, block);
            let carried = world.carried(&record)?;
            assert!(
                carried.block.ends_with(want),
                "{block:?} became {:?}",
                carried.block
            );
            assert_eq!(carried.lines, String::from_utf8_lossy(want));
        }
        Ok(())
    })
}

#[test]
fn an_instruction_behind_an_empty_line_or_without_an_end_counts_for_the_server_too() -> Result<()> {
    on_both(|world| {
        for block in [
            &b"NATS/1.0\r\nA: 1\r\n\r\nNats-Rollup: all\r\nB: 2\r\n\r\n"[..],
            b"NATS/1.0\r\nA: 1\r\nNats-Rollup: all",
            b"NATS/1.0\r\nNats-Rollup:\tall\r\n\r\n",
            b"\r\nNats-Rollup: all\r\n\r\n",
        ] {
            let record = unstored(block);
            assert_eq!(code_of(&world.verbatim(&record)?), Some(10111), "{block:?}");
            let carried = world.carried(&record)?;
            assert!(!carried.lines.contains("Nats-Rollup"), "{carried:?}");
        }
        Ok(())
    })
}

#[test]
fn what_becomes_an_instruction_behind_our_version_line_is_left_out() -> Result<()> {
    on_both(|world| {
        world.source(&[])?;
        let record = world.at_source(b"Nats-Rollup: all\r\nA: 1\r\n\r\n", PAYLOAD)?;
        seq_of(&world.verbatim(&record)?)?;
        assert_eq!(world.carried(&record)?.lines, "A: 1\r\n\r\n");
        Ok(())
    })
}

/// The server reads the first line of a name only, and so do the rules: what they leave standing
/// first is what was meant to stand first.
#[test]
fn the_first_line_of_a_name_is_the_one_that_counts() -> Result<()> {
    on_both(|world| {
        let shielded = unstored(b"NATS/1.0\r\nNats-Rollup:\r\nNats-Rollup: all\r\n\r\n");
        seq_of(&world.verbatim(&shielded)?)?;
        let bare = unstored(b"NATS/1.0\r\nNats-Rollup: all\r\nNats-Rollup:\r\n\r\n");
        assert_eq!(code_of(&world.verbatim(&bare)?), Some(10111));
        assert_eq!(world.carried(&shielded)?.lines, "\r\n");
        Ok(())
    })
}

#[test]
fn a_status_is_dropped_as_newer_servers_drop_it() -> Result<()> {
    on_both(|world| {
        world.source(&[])?;
        let block = b"NATS/1.0 100 Idle Heartbeat\r\nA: 1\r\n\r\n";
        let record = world.at_source(block, b"")?;
        let kept = world.release == Release::Oldest;
        assert_eq!(record.headers == block, kept);
        assert_eq!(world.carried(&record)?.lines, "A: 1\r\n\r\n");
        let record = world.at_source(b"NATS/1.0 503\r\n\r\n", b"")?;
        assert_eq!(record.headers.is_empty(), !kept);
        assert_eq!(world.carried(&record)?.lines, "\r\n");
        Ok(())
    })
}

/// The reference takes everything up to the first CR for a status, lines and all; an older server
/// stored them, and a target of the reference's kind must not lose them.
#[test]
fn a_version_line_without_its_cr_costs_no_line() -> Result<()> {
    let mut old = World::start(Release::Oldest)?;
    old.source(&[])?;
    let block = b"NATS/1.0\nA: 1\r\nB: 2\r\n\r\n";
    let record = old.at_source(block, PAYLOAD)?;
    assert_eq!(record.headers, block);
    let mut world = World::start(Release::Reference)?;
    let seq = seq_of(&world.verbatim(&record)?)?;
    assert_eq!(
        world.nats.stored("DST", seq)?.headers,
        b"NATS/1.0\r\nB: 2\r\n\r\n"
    );
    assert_eq!(world.carried(&record)?.lines.as_bytes(), block);
    Ok(())
}

fn unstored(block: &[u8]) -> Stored {
    Stored {
        subject: "SRC.k".to_owned(),
        headers: block.to_vec(),
        payload: PAYLOAD.to_vec(),
        time: String::new(),
    }
}
