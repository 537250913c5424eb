//! What holds of any block, whoever wrote it.

use proptest::prelude::*;

use super::*;

/// Well-formed lines: ordinary ones and those of rows, in any order.
fn any_lines() -> impl Strategy<Value = Vec<(String, bool)>> {
    let plain = prop::sample::select(
        untouched()
            .into_iter()
            .filter(|it| !it.starts_with(' '))
            .collect::<Vec<_>>(),
    );
    let row = (prop::sample::select(TABLE), "[ -~]{0,12}").prop_map(|(row, value)| {
        let more = if row.matches == Match::Prefix {
            "More"
        } else {
            ""
        };
        (
            format!("{}{more}: {value}\r\n", row.name),
            row.treatment == Treatment::Rename,
        )
    });
    let plain = plain.prop_map(|line| (line, true));
    proptest::collection::vec(prop_oneof![plain, row], 0..12)
}

proptest! {
    #[test]
    fn never_panics_and_ours_stand_first(
        block in proptest::collection::vec(any::<u8>(), 0..300), able: bool
    ) {
        rewritten(&block, if able { &ABLE } else { &PLAIN });
    }

    #[test]
    fn what_is_not_reserved_is_kept_in_order(lines in any_lines()) {
        let block: String = lines.iter().map(|(line, _)| line.as_str()).collect();
        let kept: String = lines
            .iter()
            .filter(|(_, kept)| *kept)
            .map(|(line, _)| {
                let renamed = TABLE.iter().any(|row| {
                    row.treatment == Treatment::Rename
                        && line.strip_prefix(row.name).is_some_and(|rest| {
                            rest.strip_prefix("More").unwrap_or(rest).starts_with(':')
                        })
                });
                if renamed { format!("Causeway-{line}") } else { line.clone() }
            })
            .collect();
        prop_assert_eq!(text(&block, &PLAIN), kept);
    }

    #[test]
    fn a_second_rewrite_changes_nothing(lines in any_lines(), able: bool) {
        let traits = if able { &ABLE } else { &PLAIN };
        let block: String = lines.iter().map(|(line, _)| line.as_str()).collect();
        let once = [HEAD, &rewritten(format!("NATS/1.0\r\n{block}\r\n").as_bytes(), traits)].concat();
        let twice = [HEAD, &rewritten(&once, traits)].concat();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn nothing_that_a_server_would_obey_is_left(block in proptest::collection::vec(
        prop::sample::select(vec!["\r\n", "\n", "\r", " ", ":", "A", "Nats-Rollup", "Nats-Rollup: all", "Nats-", "NATS/1.0", "Nats-Expected-Stream:x"]), 0..14
    )) {
        let out = [HEAD, &rewritten(block.concat().as_bytes(), &PLAIN)].concat();
        prop_assert_eq!(value_of(&out, b"Nats-Rollup"), None);
        prop_assert_eq!(value_of(&out, b"Nats-Expected-Stream"), None);
    }
}
