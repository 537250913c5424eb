//! The pull reader: order, resumption, bounds, progress.

use std::time::Duration;

use bytes::BytesMut;
use causeway::nats::{
    Client, PullReader, ReadEvent, ReadProblem, RecordBlock, Start, append_publish,
};
use causeway_proto::id::{SourceSeq, StoredAt};

use super::server::Server;
use super::{api, connected, create_stream, options, publish, read, reader, run, start, within};

/// The next records; returns their credit at once.
async fn records(reader: &mut PullReader) -> RecordBlock {
    loop {
        if let ReadEvent::Records(records) = read(reader).await {
            reader.allow(records.credit());
            return records;
        }
    }
}

/// Reads records that carry the numbers `from..to`, each at the sequence of its number.
pub(crate) async fn read_numbers(reader: &mut PullReader, from: usize, to: usize) {
    let mut next = from;
    while next < to {
        let records = records(reader).await;
        assert_eq!(records.through(), SourceSeq((next + records.len() - 1) as u64));
        for record in records.iter() {
            assert_eq!(record.seq, SourceSeq(next as u64));
            assert!(record.payload.starts_with(next.to_string().as_bytes()));
            next += 1;
        }
    }
}

#[test]
fn a_killed_server_costs_neither_loss_nor_repetition() {
    run(async {
        let mut server = Server::start().await;
        let client = start(&server.url());
        create_stream(&client).await;
        publish(&client, 1, 200_001, 128).await;
        let mut reader = reader(&client, 1 << 20, |_| {});
        read_numbers(&mut reader, 1, 70_001).await;
        let reached = reader.position().unwrap().0 as usize;
        server.kill().await;
        while !matches!(
            read(&mut reader).await,
            ReadEvent::Interrupted { problem: ReadProblem::Disconnected }
        ) {
            // What had come before the kill is still good, and counted by `position`.
        }
        let resumed_from = reader.position().unwrap().0 as usize;
        assert!(resumed_from >= reached);
        server.restart().await;
        read_numbers(&mut reader, resumed_from + 1, 200_001).await;
    });
}

#[test]
fn a_lost_consumer_is_made_anew_behind_the_last_record() {
    run(async {
        let server = Server::start().await;
        let client = start(&server.url());
        create_stream(&client).await;
        publish(&client, 1, 1001, 64).await;
        let mut reader = reader(&client, 1 << 20, |it| it.heartbeat = Duration::from_millis(200));
        read_numbers(&mut reader, 1, 1001).await;
        let names = api(&client, "CONSUMER.NAMES.S", "").await;
        let name = names["consumers"][0].as_str().unwrap().to_owned();
        api(&client, &format!("CONSUMER.DELETE.S.{name}"), "").await;
        // 2.10 does not always say so, and is found out by its silence.
        while !matches!(
            read(&mut reader).await,
            ReadEvent::Interrupted { problem: ReadProblem::ConsumerLost(_) | ReadProblem::Silent }
        ) {}
        publish(&client, 1001, 1101, 64).await;
        read_numbers(&mut reader, 1001, 1101).await;
        reader.close();
        within(client.shutdown()).await;
        let client = start(&server.url());
        connected(&client).await;
        let names = api(&client, "CONSUMER.NAMES.S", "").await;
        assert_eq!(names["total"], 0, "closing removes the consumer");
    });
}

#[test]
fn credit_bounds_what_is_under_way() {
    run(async {
        const WINDOW: u64 = 256 * 1024;
        let server = Server::start().await;
        let client = start(&server.url());
        create_stream(&client).await;
        publish(&client, 1, 5001, 1000).await;
        let mut reader = reader(&client, WINDOW, |it| it.heartbeat = Duration::from_millis(100));
        let (mut taken, mut next) = (0, 1);
        // Nothing is given back: the window is all that comes.
        loop {
            match tokio::time::timeout(Duration::from_secs(1), reader.next()).await {
                Ok(Some(ReadEvent::Records(records))) => {
                    taken += records.credit();
                    next += records.len();
                }
                Ok(Some(_)) => {}
                Ok(None) => panic!("the client lives"),
                Err(_) => break,
            }
        }
        assert!(taken <= WINDOW + 1100, "{taken}");
        assert!(taken >= WINDOW * 3 / 4 - 1100, "{taken}");
        reader.allow(taken);
        read_numbers(&mut reader, next, 5001).await;
    });
}

#[test]
fn a_record_larger_than_the_window_passes_alone() {
    run(async {
        const LARGE: usize = 8 << 20;
        let server = Server::with("max_payload: 16MB", |_| {}).await;
        let client = start(&server.url());
        create_stream(&client).await;
        publish(&client, 1, 101, 200).await;
        publish(&client, 101, 103, LARGE).await;
        publish(&client, 103, 203, 200).await;
        let mut reader = reader(&client, 64 * 1024, |_| {});
        read_numbers(&mut reader, 1, 203).await;
    });
}

#[test]
fn progress_is_declared_past_what_the_filters_leave_out() {
    run(async {
        let server = Server::start().await;
        let client = start(&server.url());
        create_stream(&client).await;
        publish(&client, 1, 102, 64).await;
        for filters in [vec!["s.0"], vec!["s.0", "s.2"]] {
            let mut reader = reader(&client, 1 << 20, |it| {
                it.filter_subjects = filters.iter().map(|it| (*it).to_owned()).collect();
                it.heartbeat = Duration::from_millis(100);
            });
            let mut last = SourceSeq(0);
            let through = loop {
                match read(&mut reader).await {
                    ReadEvent::Records(records) => {
                        assert_eq!(records.follows(), last);
                        for record in records.iter() {
                            let subject = String::from_utf8_lossy(record.subject).into_owned();
                            assert!(filters.contains(&subject.as_str()), "{subject}");
                        }
                        last = records.through();
                    }
                    ReadEvent::CaughtUp { through } => break through,
                    ReadEvent::Opened { pending, .. } => assert!(pending > 0),
                    ReadEvent::Interrupted { problem } => panic!("{problem}"),
                }
            };
            assert_eq!((last, through), (SourceSeq(100), SourceSeq(101)));
            reader.close();
        }
    });
}

#[test]
fn reading_begins_where_it_is_told() {
    run(async {
        let server = Server::start().await;
        let client = start(&server.url());
        create_stream(&client).await;
        publish(&client, 1, 101, 64).await;
        let at = |start| reader(&client, 1 << 20, |it| it.start = start);
        read_numbers(&mut at(Start::At(SourceSeq(51))), 51, 101).await;
        let mut all = at(Start::All);
        let first = records(&mut all).await.iter().map(|it| it.stored_at).collect::<Vec<_>>();
        let mut since = at(Start::Since(StoredAt(first[0].0 + 1)));
        assert!(records(&mut since).await.iter().all(|it| it.stored_at > first[0]));

        let mut new = at(Start::New);
        let ReadEvent::Opened { follows, pending } = read(&mut new).await else { panic!() };
        assert_eq!((follows, pending), (SourceSeq(100), 0));
        publish(&client, 101, 111, 64).await;
        read_numbers(&mut new, 101, 111).await;
    });
}

#[test]
fn a_missing_stream_is_waited_for_and_deleted_records_are_gaps() {
    run(async {
        let server = Server::start().await;
        let client = start(&server.url());
        connected(&client).await;
        let mut reader = reader(&client, 1 << 20, |_| {});
        let ReadEvent::Interrupted { problem } = read(&mut reader).await else { panic!() };
        assert!(matches!(problem, ReadProblem::Refused { err_code: 10059, .. }), "{problem:?}");
        // The reader moves only when it is driven.
        let (first, ()) = tokio::join!(records(&mut reader), async {
            create_stream(&client).await;
            publish(&client, 1, 2, 64).await;
        });
        assert_eq!(first.through(), SourceSeq(1));
        publish(&client, 2, 11, 64).await;
        read_numbers(&mut reader, 2, 11).await;
        reader.close();

        for seq in [1, 4, 5] {
            api(&client, "STREAM.MSG.DELETE.S", &format!("{{\"seq\":{seq}}}")).await;
        }
        let mut again = super::reader(&client, 1 << 20, |_| {});
        let ReadEvent::Opened { follows, pending } = read(&mut again).await else { panic!() };
        assert_eq!((follows, pending), (SourceSeq(1), 7));
        let mut seqs = Vec::new();
        while seqs.len() < 7 {
            seqs.extend(records(&mut again).await.iter().map(|it| it.seq.0));
        }
        assert_eq!(seqs, [2, 3, 6, 7, 8, 9, 10]);
    });
}

#[test]
fn a_stopped_server_is_noticed_and_read_on_from() {
    run(async {
        let server = Server::start().await;
        let mut quick = options(&server.url());
        quick.ping_interval = Duration::from_millis(100);
        quick.drain_max = Duration::from_secs(30);
        let client = Client::start(quick);
        create_stream(&client).await;
        publish(&client, 1, 1001, 64).await;
        let mut reader = reader(&client, 1 << 20, |_| {});
        read_numbers(&mut reader, 1, 1001).await;
        server.signal("STOP").await;
        while !matches!(
            read(&mut reader).await,
            ReadEvent::Interrupted { problem: ReadProblem::Disconnected }
                | ReadEvent::Interrupted { problem: ReadProblem::Silent }
        ) {
            // Progress may have been declared before the stop.
        }
        server.signal("CONT").await;
        publish(&client, 1001, 1101, 64).await;
        read_numbers(&mut reader, 1001, 1101).await;
    });
}

#[test]
fn live_records_arrive_at_once_however_long_the_idle_time() {
    run(async {
        let server = Server::start().await;
        let client = start(&server.url());
        create_stream(&client).await;
        let mut reader = reader(&client, 1 << 20, |it| {
            it.expires = Duration::from_millis(400);
            it.heartbeat = Duration::from_millis(100);
        });
        let generation = connected(&client).await;
        for number in 1..30_u64 {
            let pause = tokio::time::timeout(Duration::from_millis(37), reader.next()).await;
            assert!(!matches!(pause, Ok(Some(ReadEvent::Interrupted { .. }))), "{pause:?}");
            let mut chunk = BytesMut::new();
            append_publish(&mut chunk, b"s.live", b"", &[], b"x").unwrap();
            client.writer().send(chunk, generation).await.unwrap();
            assert_eq!(records(&mut reader).await.through(), SourceSeq(number));
        }
    });
}
