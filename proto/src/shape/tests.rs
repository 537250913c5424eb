use proptest::prelude::*;

use super::template::{Kind, Template};
use super::text::{Parts, string_end};
use super::*;
use crate::batch::{BatchBuilder, PlainBatch};
use crate::id::{SourceSeq, StoredAt};
use crate::record::RecordView;

fn batch(records: &[(&str, Vec<u8>, Vec<u8>)]) -> PlainBatch {
    let mut builder = BatchBuilder::new();
    for ((subject, headers, payload), seq) in records.iter().zip(1..) {
        let record = RecordView {
            seq: SourceSeq(seq),
            stored_at: StoredAt(1_700_000_000_000_000_000 + seq * 1_234_567),
            relayed: false,
            subject: subject.as_bytes(),
            headers,
            payload,
        };
        builder.push(&record).expect("a record of the test");
    }
    let through = SourceSeq(records.len() as u64);
    builder.seal(SourceSeq(0), through).expect("it has records")
}

/// The shaped form, after a look that the plain one comes back.
fn there_and_back(batch: &PlainBatch) -> Option<Vec<u8>> {
    let mut shaper = Shaper::default();
    let shaped = shaper.shape(&batch.body, batch.record_count)?.to_vec();
    // A batch stands alone, whatever was shaped before.
    let other: Vec<_> = (0..9).map(|n| ("c", headers(n), event(n))).collect();
    shaper.shape(&self::batch(&other).body, 9);
    assert_eq!(
        shaper.shape(&batch.body, batch.record_count),
        Some(&shaped[..])
    );
    let plain_len = u32::try_from(batch.body.len()).expect("a small batch");
    let plain = unshape(&shaped, plain_len, batch.record_count).expect("what was shaped");
    assert_eq!(plain, batch.body);
    Some(shaped)
}

fn event(number: u64) -> Vec<u8> {
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{{\"id\": \"{hash:016x}-{number:04x}\", \"at\": \"2026-11-21T07:{:02}:{:02}.{:06}Z\", \"n\": {}, \
         \"ok\": {}, \"tags\": [\"a\", \"b\\\"{number}\"], \"t\": {}.{:02}, \"none\": null}}",
        number / 60 % 60,
        number % 60,
        number * 7 % 1_000_000,
        1_000_000 + number,
        number.is_multiple_of(3),
        number % 40,
        number % 100
    )
    .into_bytes()
}

fn headers(number: u64) -> Vec<u8> {
    format!("NATS/1.0\r\nContent-Type: application/json\r\nX-Trace:{number:032x}\r\n\r\n")
        .into_bytes()
}

#[test]
fn events_shrink_to_what_differs() {
    let records: Vec<_> = (0..200)
        .map(|number| ("orders.eu.new", headers(number), event(number)))
        .collect();
    let batch = batch(&records);
    let shaped = there_and_back(&batch).expect("events have much in common");
    assert!(
        shaped.len() * 5 < batch.body.len() * 2,
        "{} of {}",
        shaped.len(),
        batch.body.len()
    );
}

#[test]
fn what_has_no_form_stays_as_it_is() {
    let noise = |seed: u64| {
        let mix = |at: u64| (seed * 31 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        (0..100).map(|at| mix(at) as u8).collect()
    };
    let records: Vec<_> = (0..50).map(|n| ("a.b", Vec::new(), noise(n))).collect();
    assert_eq!(there_and_back(&batch(&records)), None);
    let few: Vec<_> = (0..5).map(|n| ("a.b", headers(n), event(n))).collect();
    assert_eq!(there_and_back(&batch(&few)), None);
}

#[test]
fn forms_that_differ_each_time_are_given_up() {
    let key = |n: u64| format!("{{\"key{n}\":1}}").into_bytes();
    let records: Vec<_> = (0..100).map(|n| ("a.b", Vec::new(), key(n))).collect();
    assert_eq!(there_and_back(&batch(&records)), None);
}

#[test]
fn odd_texts_come_back_as_they_were() {
    let odd: [&[u8]; 14] = [
        b"{\"a\":\"cut in a str",
        b"{\"a\":\"cut at a backslash\\",
        b"{\"a\" : 1,}",
        b"{\"a\":01, \"b\":-0, \"c\":1e5, \"d\":+3}",
        b"{\"a\":\"line\nfeed\"}",
        b"{\"a\":\"\\u0000\", \"\":\"\"}",
        b"[1,2,[3,[\"x\"]],{}]",
        b"  {\r\n\t\"a\": true }  ",
        b"{\"\xff\xfe\": \"\xff\"}",
        b"{\0}",
        b"",
        b"{",
        b"\"just a string\"",
        b"{\"a\":999999999999999999,\"b\":1000000000000000000,\"c\":-999999999999999999}",
    ];
    let heads: [&[u8]; 6] = [
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0\r\nA:\r\nB: \r\nC:  x \r\nA: again\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\nbad: \n\r\n\r\n",
        b"NATS/1.0\r\nX: 1\r\n\r\ntrailing",
    ];
    let records: Vec<_> = (0..400)
        .map(|n: usize| {
            let payload = if n.is_multiple_of(3) {
                odd[n / 3 % odd.len()].to_vec()
            } else {
                event(n as u64)
            };
            ("odd.one", heads[n % heads.len()].to_vec(), payload)
        })
        .collect();
    assert!(there_and_back(&batch(&records)).is_some());
}

#[test]
fn a_shaped_body_with_any_byte_changed_is_refused_or_decoded_within_its_length() {
    let records: Vec<_> = (0..20).map(|n| ("a.b", headers(n), event(n))).collect();
    let batch = batch(&records);
    let shaped = there_and_back(&batch).expect("events have much in common");
    let plain_len = u32::try_from(batch.body.len()).expect("a small batch");
    for at in 0..shaped.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = shaped.clone();
            bad[at] ^= flip;
            if let Ok(plain) = unshape(&bad, plain_len, batch.record_count) {
                assert_eq!(plain.len(), batch.body.len());
            }
        }
        assert!(unshape(&shaped[..at], plain_len, batch.record_count).is_err());
    }
}

/// Texts near JSON, of the bytes that matter to it.
fn near_json() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("{\"key\":".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just(",".to_owned()),
        Just("}".to_owned()),
        Just("2026-11-21T07:23:11.123456Z".to_owned()),
        "[0-9a-f]{1,20}",
        "-?[0-9]{1,20}",
        "[ -~]{0,8}",
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("Name: ".to_owned()),
        Just("\0".to_owned()),
    ];
    let body = proptest::collection::vec(piece, 0..12);
    body.prop_map(|pieces| format!("{{{}", pieces.concat()).into_bytes())
}

#[test]
fn a_text_has_the_form_that_was_taken_from_it() {
    let mut parts = Parts::default();
    for (kind, made) in [
        (Kind::Json, event as fn(u64) -> _),
        (Kind::Headers, headers),
    ] {
        assert!(parts.take(kind, &made(7)));
        let template = Template::new(&parts.template);
        for number in [7, 8, 1_000_000] {
            let text: Vec<u8> = made(number);
            let mut values = Vec::new();
            let found = template.find(kind, &text, |at| values.push(at));
            assert!(parts.take(kind, &text));
            assert_eq!((found, values), (Some(()), parts.values.clone()));
        }
        assert_eq!(template.find(kind, b"{\"other\": 1}", |_| ()), None);
    }
}

/// What [`string_end`] finds, a byte at a time.
fn string_end_slowly(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at) {
            None => return (at == text.len()).then_some(at),
            Some(b'"') => return Some(at),
            Some(0..b' ') => return None,
            Some(b'\\') if matches!(text.get(at + 1), Some(0..b' ')) => return None,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

proptest! {
    #[test]
    fn strings_end_where_they_should(text in r#"[ -~ü\n\x00\x1f\x80"\\]{0,40}"#) {
        prop_assert_eq!(string_end(text.as_bytes(), 0), string_end_slowly(text.as_bytes()));
    }

    #[test]
    fn any_texts_come_back(texts in proptest::collection::vec((near_json(), near_json()), 8..40)) {
        let records: Vec<_> = texts
            .into_iter()
            .flat_map(|text| std::iter::repeat_n(("a.b", text.0, text.1), 4))
            .collect();
        there_and_back(&batch(&records));
    }

    #[test]
    fn columns_of_one_kind_come_back(numbers in proptest::collection::vec(any::<i64>(), 40), shift in 0u32..64) {
        let json = |n: &i64| format!("{{\"n\":{},\"h\":\"{:016x}\",\"f\":\"{:020}\"}}", n >> shift, n, n.unsigned_abs());
        let records: Vec<_> = numbers.iter().map(|n| ("a.b", Vec::new(), json(n).into_bytes())).collect();
        prop_assert!(there_and_back(&batch(&records)).is_some());
    }

    #[test]
    fn any_bytes_are_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = unshape(&bytes, 1000, 20);
    }
}

/// The example of WIRE.md.
#[test]
fn a_shaped_body_has_its_golden_bytes() {
    let json = |n: u64| format!("{{\"n\":{},\"k\":\"v\"}}", 1000 + n).into_bytes();
    let records: Vec<_> = (0..8).map(|n| ("a.b", Vec::new(), json(n))).collect();
    let shaped = there_and_back(&batch(&records)).expect("eight records of one template");
    let hex: String = shaped.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = include_str!("../../golden/v1/shaped.hex");
    let uncommented = golden.lines().filter_map(|line| line.split('#').next());
    let golden: String = uncommented.flat_map(str::split_whitespace).collect();
    assert_eq!(hex, golden);
}
