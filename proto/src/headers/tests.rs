//! What becomes of each row of the table, and of what stands between the rows.

mod properties;

use bytes::BytesMut;

use super::*;

const PLAIN: TargetTraits = TargetTraits {
    ttl: false,
    rollup: false,
    payload_len_max: 1 << 20,
    message_len_max: None,
};
const ABLE: TargetTraits = TargetTraits {
    ttl: true,
    rollup: true,
    ..PLAIN
};
const AGES: Ages = Ages {
    stored_at_ns: 0,
    now_ns: 0,
};
const OWN: &[u8] = b"Causeway: x\r\nNats-Msg-Id: y\r\n";
const HEAD: &[u8] = b"NATS/1.0\r\nCauseway: x\r\nNats-Msg-Id: y\r\n";

/// What follows our lines.
fn rewritten(block: &[u8], traits: &TargetTraits) -> Vec<u8> {
    let mut out = BytesMut::new();
    let verdict = rewrite(block, 0, AGES, traits, OWN, &mut out);
    assert_eq!(verdict, Ok(HeaderVerdict::Publish));
    out.strip_prefix(HEAD)
        .expect("our lines stand first")
        .to_vec()
}

fn text(block: &str, traits: &TargetTraits) -> String {
    let block = format!("NATS/1.0\r\n{block}\r\n");
    let out = String::from_utf8(rewritten(block.as_bytes(), traits)).unwrap();
    out.strip_suffix("\r\n")
        .expect("the empty line stands last")
        .to_owned()
}

/// Lines that no row is about, among them near misses of every row.
fn untouched() -> Vec<String> {
    let near = TABLE.iter().flat_map(|row| {
        [
            format!("{}: v\r\n", row.name.to_lowercase()),
            format!("X-{}: v\r\n", row.name),
            format!("{}\r\n", row.name),
            format!(" {}: v\r\n", row.name),
        ]
    });
    let spaced = TABLE.iter().map(|row| format!("{} : v\r\n", row.name));
    let longer = [
        "Causeway-Of: me\r\n",
        "Nats-TTLs: 1\r\n",
        "Nats-Scheduled: 1\r\n",
        "Nats-Rollup-: 1\r\n",
    ];
    let plain = [
        "A: 1\r\n",
        "A: 1\r\n",
        "a:2\r\n",
        "Zed:  3 \r\n",
        "Folded: a\r\n\tb\r\n",
        ":\r\n",
    ];
    near.chain(spaced)
        .chain(
            [longer.as_slice(), &plain]
                .concat()
                .iter()
                .map(ToString::to_string),
        )
        .collect()
}

#[test]
fn ordinary_lines_travel_byte_for_byte() {
    let all = untouched().concat();
    assert_eq!(text(&all, &PLAIN), all);
    assert_eq!(text(&all, &ABLE), all);
}

#[test]
fn rows_are_left_out_or_renamed_with_their_folded_lines() {
    for row in TABLE {
        let name = match row.matches {
            Match::Exact => row.name.to_owned(),
            Match::Prefix => format!("{}Xyz", row.name),
        };
        let block = format!("A: 1\r\n{name}: v\r\n more\r\nB: 2\r\n{name}:w\r\n");
        let want = match row.treatment {
            Treatment::Rename => {
                format!("A: 1\r\nCauseway-{name}: v\r\n more\r\nB: 2\r\nCauseway-{name}:w\r\n")
            }
            _ => "A: 1\r\nB: 2\r\n".to_owned(),
        };
        assert_eq!(text(&block, &PLAIN), want, "{name}");
    }
}

#[test]
fn a_rollup_passes_where_the_target_may_act_on_it() {
    for (block, want) in [
        ("Nats-Rollup: sub\r\n", "Nats-Rollup: sub\r\n"),
        ("Nats-Rollup:ALL\r\n", "Nats-Rollup:ALL\r\n"),
        ("Nats-Rollup: other\r\nA: 1\r\n", "A: 1\r\n"),
        ("Nats-Rollup: sub \r\n", ""),
        // The server looks at the first line of a name; what it does not look at stays.
        (
            "Nats-Rollup:\r\nNats-Rollup: sub\r\n",
            "Nats-Rollup:\r\nNats-Rollup: sub\r\n",
        ),
        (
            "Nats-Rollup: x\r\nNats-Rollup: sub\r\n",
            "Nats-Rollup: sub\r\n",
        ),
    ] {
        assert_eq!(text(block, &ABLE), want);
        assert!(!text(block, &PLAIN).contains("Nats-Rollup"));
    }
}

#[test]
fn a_disabled_trace_stays_disabled() {
    let block = "Nats-Trace-Dest: trace disabled\r\ntraceparent: 00-1-2-01\r\n";
    assert_eq!(text(block, &PLAIN), block);
    assert_eq!(
        text(
            "Nats-Trace-Dest: a.b\r\nNats-Trace-Only: 1\r\nA: 1\r\n",
            &PLAIN
        ),
        "A: 1\r\n"
    );
}

#[test]
fn lines_behind_an_empty_one_count_as_they_do_for_the_server() {
    let block = b"NATS/1.0\r\nA: 1\r\n\r\nNats-Rollup: all\r\nB: 2\r\n\r\n";
    assert_eq!(rewritten(block, &PLAIN), b"A: 1\r\n\r\nB: 2\r\n\r\n");
}

#[test]
fn malformed_blocks_follow_our_lines_verbatim() {
    for lines in [
        &b"no colon\r\n\xff\xfe: x\r\nbad name: y\r\n\r\n"[..],
        b"A: 1",
        b"A: 1\r\n",
        b"A: 1\nB: 2\r\n\r\n",
        b"A: 1\nNats-Rollup: all\r\n\r\n",
        b"A: \0\r\n: x\r\n\r\n",
        b"   \r\n\r\n",
        b"\r\n",
        b"\r\n\r\ntail",
    ] {
        let block = [&b"NATS/1.0\r\n"[..], lines].concat();
        assert_eq!(rewritten(&block, &PLAIN), lines);
    }
    // Without a version line, or with one that is not quite: nothing of it is dropped.
    for block in [
        &b"HELLO\r\nA: 1\r\n\r\n"[..],
        b"x",
        b"NATS/1.0\nA: 1\r\n\r\n",
        b"NATS/1.1\r\n\r\n",
        b"NATS/1.0\rA",
    ] {
        assert_eq!(rewritten(block, &PLAIN), block);
    }
    // Behind our version line the server would act on it, where before it did not.
    assert_eq!(
        rewritten(b"Nats-Rollup: all\r\nA: 1\r\n\r\n", &PLAIN),
        b"A: 1\r\n\r\n"
    );
}

#[test]
fn a_status_is_dropped_and_an_empty_block_is_closed() {
    assert_eq!(
        rewritten(b"NATS/1.0 100 Idle\r\nA: 1\r\n\r\n", &PLAIN),
        b"A: 1\r\n\r\n"
    );
    for block in [
        &b""[..],
        b"NATS/1.0",
        b"NATS/1.0\r\n",
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
    ] {
        assert_eq!(rewritten(block, &PLAIN), b"\r\n");
    }
    assert_eq!(rewritten(b"NATS/1.0\r\nNats-TTL: 5", &PLAIN), b"\r\n");
}

#[test]
fn a_time_to_live_goes_on_counting() {
    let ttl = |value: &str, age_ms: u64| {
        let block = format!("NATS/1.0\r\nNats-TTL: {value}\r\n\r\n");
        let ages = Ages {
            stored_at_ns: 5,
            now_ns: 5 + age_ms * 1_000_000,
        };
        let mut out = BytesMut::new();
        let verdict = rewrite(block.as_bytes(), 0, ages, &ABLE, b"", &mut out).unwrap();
        let out = String::from_utf8(out.to_vec()).unwrap();
        (verdict == HeaderVerdict::Publish).then(|| out[10..out.len() - 2].to_owned())
    };
    let line = |value: &str| Some(format!("Nats-TTL: {value}\r\n"));
    assert_eq!(ttl("60", 20_000), line("40"));
    assert_eq!(ttl("60", 20_001), line("40"));
    assert_eq!(ttl("60", 999), line("60"));
    assert_eq!(ttl("1h", 999), line("1h"));
    assert_eq!(ttl("1h30m", 3_600_000), line("1800"));
    assert_eq!(ttl("2.9s", 1_500), line("1"));
    assert_eq!(ttl("never", 3_600_000), line("never"));
    assert_eq!(ttl("", 3_600_000), line(""));
    assert_eq!(ttl("junk", 0), Some(String::new()));
    assert_eq!(ttl("60", 59_999), line("1"));
    assert_eq!(ttl("60", 60_000), None);
}

#[test]
fn only_the_first_time_to_live_counts() {
    let block = "Nats-TTL: junk\r\nNats-TTL: 5\r\nNats-TTL: 7\r\n";
    assert_eq!(text(block, &ABLE), "Nats-TTL: 5\r\nNats-TTL: 7\r\n");
    assert_eq!(text(block, &PLAIN), "");
}

#[test]
fn a_clock_behind_the_source_lengthens_no_life() {
    let mut out = BytesMut::new();
    let ages = Ages {
        stored_at_ns: 100,
        now_ns: 5,
    };
    rewrite(
        b"NATS/1.0\r\nNats-TTL: 5\r\n\r\n",
        0,
        ages,
        &ABLE,
        b"",
        &mut out,
    )
    .unwrap();
    assert_eq!(&out[..], b"NATS/1.0\r\nNats-TTL: 5\r\n\r\n");
}

#[test]
fn sizes_are_refused_with_their_numbers_and_leave_the_buffer_alone() {
    let mut out = BytesMut::from(&b"before"[..]);
    let traits = TargetTraits {
        payload_len_max: 31,
        message_len_max: Some(30),
        ..PLAIN
    };
    let mut check = |payload_len, traits| rewrite(b"", payload_len, AGES, traits, b"", &mut out);
    assert_eq!(
        check(19, &traits),
        Err(Rejection::TooLarge { len: 31, max: 30 })
    );
    assert_eq!(check(18, &traits), Ok(HeaderVerdict::Publish));
    let long = [b'a'; BLOCK_LEN_MAX - 12 + 1];
    let got = rewrite(&long, 0, AGES, &PLAIN, b"", &mut out);
    assert_eq!(got, Ok(HeaderVerdict::Publish));
    let longer = [b'a'; BLOCK_LEN_MAX - 10 + 1];
    let len_before = out.len();
    let got = rewrite(&longer, 0, AGES, &PLAIN, b"", &mut out);
    assert_eq!(
        got,
        Err(Rejection::HeadersTooLong {
            len: BLOCK_LEN_MAX + 1
        })
    );
    assert_eq!(out.len(), len_before);
}

#[test]
fn the_page_has_every_row_and_no_other() {
    let page = include_str!("../../HEADERS.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let on_page: Vec<_> = rows.collect();
    let in_code = TABLE.iter().map(|row| match row.matches {
        Match::Exact => row.name.to_owned(),
        Match::Prefix => format!("{}*", row.name),
    });
    assert_eq!(on_page, in_code.collect::<Vec<_>>());
}
