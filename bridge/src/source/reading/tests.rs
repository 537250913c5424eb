#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use super::*;

const INBOX: &str = "_INBOX.a";

fn reading() -> Reading {
    Reading::new("c1".into(), INBOX, PullSize::shared_by(1))
}

/// What consumer `c1` delivers from its delivery `number` on: sequences, and how many wait behind.
fn block(number: usize, records: &[(u64, u64)]) -> nats::Block {
    let message = |(index, (seq, behind)): (usize, &(u64, u64))| {
        let number = number + index;
        format!("MSG orders.new 1 $JS.ACK.S.c1.1.{seq}.{number}.1.{behind} 2\r\n{{}}\r\n")
    };
    let bytes: String = records.iter().enumerate().map(message).collect();
    nats::Block::scanned(bytes.as_bytes()).unwrap()
}

fn sort(seqs: &[u64], through: u64) -> (Vec<u64>, Option<Broken>) {
    let mut reading = reading();
    let records: Vec<_> = seqs.iter().map(|seq| (*seq, 0)).collect();
    let sorted = reading.sort(&block(1, &records), SourceSeq(through));
    let seqs = sorted.deliveries.iter().map(|(_, d)| d.seq.0).collect();
    (seqs, sorted.broken)
}

#[tokio::test]
async fn deliveries_at_or_behind_what_was_read_break_the_consumer() {
    assert_eq!(sort(&[8, 9, 12], 7), (vec![8, 9, 12], None));
    assert_eq!(sort(&[7, 8], 7), (vec![], Some(Broken::Behind)));
    assert_eq!(sort(&[8, 8], 7), (vec![8], Some(Broken::Behind)));
    assert_eq!(sort(&[8, 5], 7), (vec![8], Some(Broken::Behind)));
}

#[tokio::test]
async fn a_jump_matters_where_records_may_have_waited() {
    let mut reading = reading();
    let mut missed = |number, records: &[_], through| {
        let sorted = reading.sort(&block(number, records), SourceSeq(through));
        sorted.missed
    };
    assert!(missed(1, &[(3, 0)], 1), "nobody knows what waited before");
    assert!(!missed(2, &[(9, 0), (15, 2)], 3), "a filter's jumps");
    assert!(!missed(4, &[(16, 2), (17, 0)], 15), "no jump");
    assert!(missed(6, &[(18, 1), (30, 0)], 17));
}

/// A word of the server about a pull of that consumer.
fn word(consumer: &str, status: &str, headers: &str) -> nats::Block {
    let head = format!("NATS/1.0 {status}\r\n{headers}\r\n");
    let len = head.len();
    let wire = format!("HMSG {INBOX}.{consumer}.1 1 {len} {len}\r\n{head}\r\n");
    nats::Block::scanned(wire.as_bytes()).unwrap()
}

#[tokio::test]
async fn what_the_server_says_of_another_consumer_is_passed_over() {
    let mut reading = reading();
    let heard = reading.heard();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    for consumer in ["c0", "c11"] {
        let gone = word(consumer, "409 Consumer Deleted", "");
        assert_eq!(reading.sort(&gone, SourceSeq(0)).broken, None);
    }
    assert_eq!(reading.heard(), heard, "it is no sign of life of this one");
    let gone = word("c1", "409 Consumer Deleted", "");
    assert!(reading.sort(&gone, SourceSeq(0)).broken.is_some());
}

#[tokio::test]
async fn where_a_stream_has_copies_only_the_consumer_itself_proves_what_is_behind_it() {
    let mut reading = reading();
    let through = |reading: &mut Reading| {
        let found = Probed::DoneByOne { first: 1, last: 90 };
        match reading.judge(found) {
            Heard::Probed(Some((_, last))) => last.0,
            _ => unreachable!("it was probed"),
        }
    };
    let beat = |consumer: u64, stream: u64| {
        let headers = format!("Nats-Last-Consumer: {consumer}\r\nNats-Last-Stream: {stream}\r\n");
        word("c1", "100 Idle Heartbeat", &headers)
    };
    assert_eq!(through(&mut reading), 0);
    reading.sort(&block(1, &[(40, 0)]), SourceSeq(0));
    reading.sort(&beat(0, 30), SourceSeq(40));
    assert_eq!(through(&mut reading), 0, "it was said before the delivery");
    reading.sort(&beat(1, 70), SourceSeq(40));
    assert_eq!(through(&mut reading), 70);
    reading.sort(&beat(1, 95), SourceSeq(40));
    assert_eq!(through(&mut reading), 90);
}

#[tokio::test]
async fn a_server_that_holds_no_pull_is_asked_again() {
    let mut reading = reading();
    let asked = |reading: &mut Reading| std::iter::from_fn(|| reading.next_request()).count();
    assert_eq!(asked(&mut reading), 2);
    assert_eq!(asked(&mut reading), 0);
    assert!(matches!(reading.judge(Probed::Starved), Heard::Starved));
    assert_eq!(asked(&mut reading), 2);
}
