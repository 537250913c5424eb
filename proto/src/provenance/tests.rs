use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

fn at(seq: u64, time: u64) -> Position {
    Position {
        seq: SourceSeq(seq),
        stored_at: StoredAt(time),
    }
}

fn write(before: Option<&Provenance<'_>>, id: Option<&[u8]>) -> BytesMut {
    let mut out = BytesMut::new();
    Stamper::new("us", "ORDERS", "orders").write(at(7, 36), 0xabc, before, id, &mut out);
    out
}

/// A block as a route writes it: the header with the right hash, then the record's own lines.
fn block(subject: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::from(&b"NATS/1.0\r\nCauseway: "[..]);
    let hash = content_hash(subject, payload);
    Stamper::new("us", "ORDERS", "orders").write(at(7, 36), hash, None, None, &mut out);
    out.extend_from_slice(b"\r\nA: 1\r\n\r\n");
    out.to_vec()
}

fn unescaped(id: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = id;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(*first);
        if *first == b'%' {
            let code = std::str::from_utf8(&rest[..2]).unwrap();
            *bytes.last_mut().unwrap() = u8::from_str_radix(code, 16).unwrap();
            rest = &rest[2..];
        }
    }
    bytes
}

#[test]
fn a_first_hop_is_short() {
    let value = write(None, None);
    assert_eq!(
        &value[..],
        b"1 us/ORDERS/7/10 r=orders h=us x=0000000000000abc"
    );
    let read = Provenance::parse(&value).unwrap();
    assert_eq!(read.origin, read.last_hop);
    assert!(read.has_passed(b"us") && !read.has_passed(b"u"));
}

#[test]
fn a_relay_keeps_the_origin_and_adds_its_hop() {
    let first = write(None, Some(b"a b%"));
    let first = Provenance::parse(&first).unwrap();
    let mut out = BytesMut::new();
    let relay = Stamper::new("eu", "HUB", "onward");
    relay.write(at(9, 1), 1, Some(&first), Some(b"us/ORDERS/7/10"), &mut out);
    let read = Provenance::parse(&out).unwrap();
    assert_eq!(read.origin, first.origin);
    assert_eq!(
        (read.last_hop.region, read.route),
        (&b"eu"[..], &b"onward"[..])
    );
    assert_eq!(read.hops, b"us,eu");
    assert_eq!(read.publisher_id, Some(&b"a%20b%25"[..]));
    let mut id = BytesMut::new();
    relay.write_dedupe_id(at(9, 1), Some(&first), &mut id);
    assert_eq!(&id[..], b"us/ORDERS/7/10");
}

#[test]
fn a_routes_own_dedupe_id_is_never_taken_for_the_publishers() {
    let first = write(None, None);
    let first = Provenance::parse(&first).unwrap();
    let relayed = write(Some(&first), Some(b"us/ORDERS/7/10"));
    assert_eq!(Provenance::parse(&relayed).unwrap().publisher_id, None);
}

#[test]
fn an_id_too_long_to_carry_is_left_behind() {
    let fits = write(None, Some(&[b'x'; PUBLISHER_ID_LEN_MAX]));
    assert!(Provenance::parse(&fits).unwrap().publisher_id.is_some());
    for id in [
        &[b'x'; PUBLISHER_ID_LEN_MAX + 1][..],
        &[b' '; PUBLISHER_ID_LEN_MAX / 2],
        b"",
    ] {
        assert_eq!(write(None, Some(id)), write(None, None));
    }
}

#[test]
fn a_full_way_leads_nowhere_and_stays_readable() {
    let hops = (0..HOPS_MAX)
        .map(|n| format!("r{n}"))
        .collect::<Vec<_>>()
        .join(",");
    let value = format!("1 r0/S/1/1 r=x h={hops} x=0000000000000000");
    let full = Provenance::parse(value.as_bytes()).unwrap();
    assert!(full.would_return(b"elsewhere") && !full.has_passed(b"elsewhere"));
    let next = write(Some(&full), None);
    assert!(Provenance::parse(&next).unwrap().would_return(b"elsewhere"));
    let over = value.replace("h=r0", "h=more,r0");
    assert_eq!(Provenance::parse(over.as_bytes()), Err(InvalidProvenance));
}

#[test]
fn the_longest_names_fit() {
    let (name, stream) = ("n".repeat(NAME_LEN_MAX), "s".repeat(STREAM_NAME_LEN_MAX));
    let hops = [name.as_str(); HOPS_MAX - 1].join(",");
    let value = format!(
        "1 {name}/{stream}/{0}/1 r={name} h={hops} x=0000000000000000 i={1}",
        u64::MAX,
        "i".repeat(PUBLISHER_ID_LEN_MAX)
    );
    let first = Provenance::parse(value.as_bytes()).unwrap();
    let mut out = BytesMut::new();
    Stamper::new(&name, &stream, &name).write(
        at(u64::MAX, u64::MAX),
        0,
        Some(&first),
        None,
        &mut out,
    );
    assert!(Provenance::parse(&out).unwrap().would_return(b"elsewhere"));
}

#[test]
fn headers_are_found_as_a_server_finds_them() {
    let block = b"NATS/1.0\r\ncauseway: no\r\nX-Causeway: no\r\nCauseway:  yes \r\n\r\n";
    assert_eq!(find(block), Some(&b"yes "[..]));
    assert_eq!(find(b"NATS/1.0\r\nCauseway : no\r\n\r\n"), None);
    assert_eq!(find(b"Causeway: no\r\n\r\n"), None);
    assert_eq!(find(b""), None);
}

#[test]
fn only_a_routes_own_header_on_its_own_record_is_believed() {
    let block = block(b"a.b", b"body");
    let orders = |it: &Provenance<'_>| it.route == b"orders" && it.last_hop.region == b"us";
    assert!(matches!(
        classify(&block, b"a.b", b"body", orders),
        Origin::Relayed(_)
    ));
    assert_eq!(classify(&block, b"a.b", b"body", |_| false), Origin::Forged);
    assert_eq!(classify(&block, b"a.c", b"body", orders), Origin::Forged);
    assert_eq!(classify(&block, b"a.b", b"other", orders), Origin::Forged);
    let plain = b"NATS/1.0\r\nA: 1\r\n\r\n";
    assert_eq!(classify(plain, b"a.b", b"body", orders), Origin::Local);
    let old = b"NATS/1.0\r\nCauseway: 0 what\r\n\r\n";
    assert_eq!(classify(old, b"a.b", b"body", |_| true), Origin::Forged);
}

#[test]
fn what_is_not_ours_is_refused() {
    let good = "1 us/ORDERS/7/10 r=orders h=us x=0000000000000abc";
    assert!(Provenance::parse(good.as_bytes()).is_ok());
    for (old, new) in [
        ("1 us", "2 us"),
        ("1 us", " us"),
        ("us/ORDERS", "us/OR.DERS"),
        ("us/ORDERS", "/ORDERS"),
        ("/7/", "/07/"),
        ("/7/", "/+7/"),
        ("/7/", "/18446744073709551616/"),
        ("/10", "/1A"),
        ("/10", "/10/1"),
        ("r=orders ", ""),
        ("r=orders", "r="),
        ("r=orders", "r=orders r=orders"),
        ("r=orders", "r=orders "),
        ("h=us", "h=us,"),
        ("h=us ", ""),
        ("x=0", "x="),
        ("x=0", "x=A"),
        ("x=0", "R=1 x=0"),
    ] {
        let bad = good.replacen(old, new, 1);
        assert_ne!(bad, good);
        assert_eq!(
            Provenance::parse(bad.as_bytes()),
            Err(InvalidProvenance),
            "{bad}"
        );
    }
}

#[test]
fn a_field_of_a_later_release_is_passed_over() {
    let later = b"1 us/ORDERS/7/10 r=orders q=new h=us x=0000000000000abc z=";
    assert_eq!(
        Provenance::parse(later),
        Provenance::parse(&write(None, None))
    );
}

/// What targets hold today must be read by every later release. The figures are those of another
/// implementation (Python's `xxhash`).
#[test]
fn the_hash_never_changes() {
    assert_eq!(
        content_hash(b"orders.eu.1", b"{\"a\":1}"),
        0x6747_a011_7ced_708c
    );
    assert_eq!(content_hash(b"", b""), 0x412f_1275_e100_17f3);
}

proptest! {
    #[test]
    fn parsing_never_panics(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Provenance::parse(&value);
        let _ = find(&value);
    }

    #[test]
    fn damage_is_refused_or_read_without_panic(place in 0usize..200, byte: u8) {
        let mut value = write(None, Some(b"some id")).to_vec();
        let place = place % value.len();
        value[place] = byte;
        let _ = Provenance::parse(&value);
    }

    #[test]
    fn what_is_written_is_read(
        seq: u64, time: u64, hash: u64, id in proptest::collection::vec(any::<u8>(), 1..60)
    ) {
        let mut out = BytesMut::new();
        Stamper::new("a", "S", "r").write(at(seq, time), hash, None, Some(&id), &mut out);
        prop_assert!(out.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
        let read = Provenance::parse(&out).unwrap();
        prop_assert_eq!((read.origin.at, read.hash), (at(seq, time), hash));
        prop_assert_eq!(unescaped(read.publisher_id.unwrap()), id);
    }

    #[test]
    fn a_name_has_one_spelling(seq: u64, time: u64) {
        let name = format!("a/S/{seq}/{}", {
            let mut out = BytesMut::new();
            put_number(time, 36, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        });
        let mut out = BytesMut::new();
        Stamper::new("a", "S", "r").write_dedupe_id(at(seq, time), None, &mut out);
        prop_assert_eq!(&out[..], name.as_bytes());
    }
}
