#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// The records of as many requests as may be sent now.
fn ask(pulls: &mut Pulls) -> Vec<u64> {
    let requests = std::iter::from_fn(|| pulls.next_request(EXPIRES));
    requests
        .map(|(_, request)| request["batch"].as_u64().unwrap())
        .collect()
}

fn deliver(pulls: &mut Pulls, count: u64, len: u64) {
    (0..count).for_each(|_| pulls.delivered(len));
}

/// The server ends a pull that still had to bring this. `true`: the consumer is as good as before.
fn end(pulls: &mut Pulls, status: &str, records: u64, bytes: u64) -> bool {
    let head = format!(
        "NATS/1.0 {status}\r\nNats-Pending-Messages: {records}\r\nNats-Pending-Bytes: {bytes}\r\n\r\n"
    );
    let len = head.len();
    let wire = format!("HMSG i.1 1 {len} {len}\r\n{head}\r\n");
    let block = crate::nats::Block::scanned(wire.as_bytes()).unwrap();
    pulls.handle_status(&block.message(0))
}

const ENDED: &str = "409 Message Size Exceeds MaxBytes";
const BYTES_MAX: u64 = 1 << 20;

fn fresh() -> Pulls {
    Pulls::new(PullSize::shared_by(1))
}

/// Records of a kilobyte were seen, and nothing is owed.
fn used() -> Pulls {
    let mut pulls = fresh();
    deliver(&mut pulls, 1, 1024);
    pulls
}

#[test]
fn two_pulls_are_open_and_the_next_is_asked_for_when_one_of_them_is_through() {
    let mut pulls = used();
    assert_eq!(ask(&mut pulls), [512, 512]);
    for _ in 0..100 {
        deliver(&mut pulls, 511, 1024);
        assert!(ask(&mut pulls).is_empty());
        deliver(&mut pulls, 1, 1024);
        assert!(!pulls.take_used_up(), "the other one is open");
        assert_eq!(ask(&mut pulls), [512]);
    }
    deliver(&mut pulls, 1024, 1024);
    assert!(pulls.take_used_up());
}

#[test]
fn a_pull_asks_for_fewer_records_the_larger_they_are() {
    for (len, wanted) in [(100, 5000), (593, 884), (64 << 10, 8), (1 << 20, 1)] {
        let mut pulls = fresh();
        assert_eq!(ask(&mut pulls), [1, 1], "nothing is known yet");
        deliver(&mut pulls, 2, len);
        let asked = ask(&mut pulls);
        assert!(
            asked.iter().all(|it| it.abs_diff(wanted) <= wanted / 50),
            "{len}: {asked:?}"
        );
        assert_eq!(asked.len(), 2);
    }
}

#[test]
fn what_a_pull_that_ended_will_not_bring_is_asked_for_again_however_many_have_ended_so() {
    let mut pulls = used();
    ask(&mut pulls);
    for _ in 0..10_000 {
        deliver(&mut pulls, 300, 1024);
        assert!(end(&mut pulls, ENDED, 212, 700));
        assert_eq!(ask(&mut pulls), [512]);
        assert!(end(&mut pulls, "408 Request Timeout", 512, 9));
        assert_eq!(ask(&mut pulls), [512]);
    }
}

#[test]
fn a_record_larger_than_a_pull_is_asked_for_alone() {
    let mut pulls = used();
    assert_eq!(ask(&mut pulls), [512, 512]);
    assert!(end(&mut pulls, ENDED, 512, BYTES_MAX));
    assert_eq!(ask(&mut pulls), [1]);
    assert!(
        end(&mut pulls, ENDED, 500, 1000),
        "one that was used is no sign"
    );
    assert!(!ask(&mut pulls).contains(&1));
}

#[test]
fn what_is_owed_and_forgotten_is_asked_for_again() {
    let mut pulls = used();
    ask(&mut pulls);
    pulls.forget();
    assert!(pulls.take_used_up());
    assert_eq!(ask(&mut pulls), [512, 512]);
}

#[test]
fn pulls_are_no_larger_than_the_server_and_the_other_routes_allow() {
    let mut pulls = Pulls::new(PullSize::shared_by(1).allowed(Some(100)));
    deliver(&mut pulls, 1, 1024);
    assert_eq!(ask(&mut pulls), [100, 100]);
    let mut pulls = Pulls::new(PullSize::shared_by(1000));
    deliver(&mut pulls, 1, 1024);
    assert_eq!(ask(&mut pulls), [24, 24]);
}

#[test]
fn a_consumer_that_is_gone_is_of_no_more_use() {
    for status in ["409 Consumer Deleted", "409 Leadership Change", "503"] {
        assert!(!end(&mut used(), status, 0, 0), "{status}");
    }
    assert!(end(&mut used(), "100 Idle Heartbeat", 0, 0));
}

/// A server's pulls as nats-server 2.10 to 2.15 serves them (`nextWaiting` in its consumer.go).
#[derive(Default)]
struct Server {
    /// Records and bytes that each pull may still bring; the next one to serve first.
    open: VecDeque<(u64, Option<u64>)>,
    /// Pulls that ended without a word.
    silent: u64,
}

impl Server {
    /// Delivers a record, after telling of pulls that it is too large for. False: no pull is open.
    fn deliver(&mut self, pulls: &mut Pulls, len: u64) -> bool {
        while let Some((mut records, bytes)) = self.open.pop_front() {
            if let Some(bytes) = bytes.filter(|bytes| len > *bytes) {
                assert!(end(pulls, ENDED, records, bytes));
                continue;
            }
            let bytes = bytes.map(|bytes| bytes - len);
            records -= 1;
            self.silent += u64::from(bytes == Some(0) && records > 0);
            if bytes != Some(0) && records > 0 {
                self.open.push_back((records, bytes));
            }
            pulls.delivered(len);
            return true;
        }
        false
    }

    fn hear(&mut self, pulls: &mut Pulls) {
        while let Some((_, request)) = pulls.next_request(EXPIRES) {
            let records = request["batch"].as_u64().unwrap();
            self.open
                .push_back((records, request["max_bytes"].as_u64()));
        }
    }
}

/// How often the server had a record and no pull, where each request arrives before the next record.
fn starved(lens: impl Iterator<Item = u64>) -> u64 {
    let (mut pulls, mut server) = (fresh(), Server::default());
    let mut starved = 0;
    for len in lens {
        server.hear(&mut pulls);
        while !server.deliver(&mut pulls, len) {
            // Either it has told of the pulls that it ended, and is asked again, or we notice that nothing comes.
            let told = server.open.len();
            server.hear(&mut pulls);
            if server.open.len() == told {
                starved += 1;
                pulls.forget();
            }
        }
        assert!(
            server.open.len() <= 12,
            "so many pulls are open: {}",
            server.open.len()
        );
    }
    assert!(starved <= server.silent, "{starved} of {}", server.silent);
    starved
}

#[test]
fn records_of_one_size_are_never_waited_for() {
    for len in (100..5000)
        .step_by(7)
        .chain((5000..3 << 20).step_by(16_381))
    {
        assert_eq!(starved(std::iter::repeat_n(len, 3000)), 0, "{len}");
    }
    for power in 7..=21 {
        assert_eq!(
            starved(std::iter::repeat_n(1 << power, 20_000)),
            0,
            "{power}"
        );
    }
}

proptest! {
    #[test]
    fn records_of_any_sizes_all_come(
        lens in prop::collection::vec(
            prop_oneof![100u64..2000, 60_000u64..70_000, 1u64..2_000_000],
            1..400,
        ),
    ) {
        // Over and over, so that pulls end wherever they may.
        starved(lens.iter().copied().cycle().take(20_000));
    }
}
