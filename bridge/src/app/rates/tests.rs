use std::path::Path;

use super::*;
use crate::checkpoint::MemoryStore;
use crate::link::Refusals;

/// Two regions and a link with these lines.
fn plan(lines: &str) -> Plan {
    let region = |name: &str| {
        format!(
            "[region.{name}]\nnats = {{ url = \"nats://127.0.0.1\" }}\nlisten = \"127.0.0.1:7443\"\n\
             admin = \"127.0.0.1:0\"\nstate = \"{name}\"\n\
             tls = {{ cert = \"c\", key = \"k\", ca = \"a\" }}\n"
        )
    };
    let text = format!(
        "[fleet]\nname = \"shop\"\n{}{}[[link]]\nregions = [\"us\", \"eu\"]\ndial = \"us:7443\"\n{lines}\n",
        region("us"),
        region("eu"),
    );
    causeway_config::parse(&text, Path::new("")).unwrap().plan
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The us sidecar's rates, and what it shows.
struct Bed {
    rates: Rates,
    store: MemoryStore,
    board: Board,
    link: DeclaredRate,
}

impl Bed {
    fn start(lines: &str, store: MemoryStore, now: &str) -> Self {
        let [us, eu] = ["us", "eu"].map(|name| RegionId::new(name).unwrap());
        let board = Board::new(us.clone(), Refusals::default());
        let rates = Rates::new(&plan(lines), &us, &store, &board, at(now));
        let link = rates.link(&eu);
        Self {
            rates,
            store,
            board,
            link,
        }
    }

    /// The link sends so much, and then it is that time. The rate, and whether data is held.
    fn look(&mut self, sent: u64, now: &str) -> (Option<u64>, bool) {
        self.link.add_sent(sent);
        self.rates.look(at(now));
        for (key, value) in self.rates.due(at(now), false) {
            self.store.put(&key, &value).unwrap();
        }
        (self.link.get(), self.link.is_held())
    }

    fn status(&self) -> RateStatus {
        let eu = RegionId::new("eu").unwrap();
        self.board.rate_status(&eu).unwrap()
    }
}

#[test]
fn a_link_goes_by_the_clock_and_says_when_it_changes() {
    let lines = "rate = \"5 Mbit/s\"\nschedule = [{ from = \"22:00\", to = \"06:00\", rate = \"80 Mbit/s\" }]";
    let mut bed = Bed::start(lines, MemoryStore::default(), "2026-11-16T21:59:30Z");
    assert_eq!(bed.link.get(), Some(5_000_000));
    assert_eq!(bed.status().reason, RateReason::Declared);
    let next = bed.rates.look(at("2026-11-16T21:59:30Z"));
    assert_eq!(next, Duration::from_secs(30));
    assert_eq!(
        bed.look(0, "2026-11-16T22:00:00Z"),
        (Some(80_000_000), false)
    );
    let status = bed.status();
    assert_eq!(
        (status.reason, status.window),
        (RateReason::Schedule, Some(0))
    );
    assert_eq!(
        status.until,
        Some(at("2026-11-17T06:00:00Z").as_second() as f64)
    );
    // Somebody may set the clock.
    assert_eq!(bed.rates.look(at("2026-11-16T22:00:00Z")), LOOK_INTERVAL);
    bed.rates
        .follow(&plan("rate = \"7 Mbit/s\""), at("2026-11-16T22:01:00Z"));
    assert_eq!(bed.link.get(), Some(7_000_000));
}

#[test]
fn a_cap_warns_then_stalls_and_goes_on_with_the_next_month() {
    let lines = "monthly_cap = { bytes = \"1 kB\" }";
    let mut bed = Bed::start(lines, MemoryStore::default(), "2026-11-16T00:00:00Z");
    let cap = |bed: &Bed| {
        let cap = bed.status().cap.unwrap();
        (cap.state, cap.used_bytes)
    };
    assert_eq!(bed.look(799, "2026-11-16T00:00:01Z"), (None, false));
    assert_eq!(cap(&bed), ("below", 799));
    bed.look(1, "2026-11-16T00:00:02Z");
    assert_eq!(cap(&bed), ("warned", 800));
    assert_eq!(bed.look(250, "2026-11-16T00:00:03Z"), (None, true));
    assert_eq!(bed.status().reason, RateReason::MonthlyCap);
    // Nothing that was counted is lost with the process: reaching the cap is remembered at once.
    let mut bed = Bed::start(lines, bed.store, "2026-11-17T00:00:00Z");
    assert!(bed.link.is_held());
    assert_eq!(cap(&bed), ("reached", 1050));
    assert_eq!(bed.look(5, "2026-11-30T23:59:59Z"), (None, true));
    assert_eq!(bed.look(5, "2026-12-01T00:00:00Z"), (None, false));
    assert_eq!(cap(&bed), ("below", 5));
}

#[test]
fn a_cap_may_slow_down_instead_and_a_reload_may_raise_it() {
    let lines = "rate = \"8 Mbit/s\"\nmonthly_cap = { bytes = \"1 kB\", then = \"1 Mbit/s\" }";
    let mut bed = Bed::start(lines, MemoryStore::default(), "2026-11-16T00:00:00Z");
    assert_eq!(
        bed.look(999, "2026-11-16T00:00:01Z"),
        (Some(8_000_000), false)
    );
    assert_eq!(
        bed.look(1, "2026-11-16T00:00:02Z"),
        (Some(1_000_000), false)
    );
    let raised = plan(&lines.replace("1 kB", "2 kB"));
    bed.rates.follow(&raised, at("2026-11-16T00:00:03Z"));
    assert_eq!(bed.link.get(), Some(8_000_000));
    assert_eq!(bed.status().cap.unwrap().used_bytes, 1000);
}

#[test]
fn counts_are_written_now_and_then_and_at_the_end() {
    let lines = "monthly_cap = { bytes = \"1 MB\" }";
    let mut bed = Bed::start(lines, MemoryStore::default(), "2026-11-16T00:00:00Z");
    bed.look(10, "2026-11-16T00:00:10Z");
    let stored = |bed: &Bed| {
        let key = CheckpointKey::usage(&RegionId::new("eu").unwrap());
        let value = bed.store.get(&key).unwrap();
        value.map(|value| Usage::decode(&value).unwrap().bytes)
    };
    assert_eq!(stored(&bed), Some(10));
    bed.look(10, "2026-11-16T00:00:19Z");
    assert_eq!(stored(&bed), Some(10));
    bed.look(10, "2026-11-16T00:00:20Z");
    assert_eq!(stored(&bed), Some(30));
    bed.link.add_sent(7);
    let end = at("2026-11-16T00:00:21Z");
    bed.rates.look(end);
    assert!(bed.rates.due(end, false).is_empty());
    assert_eq!(bed.rates.due(end, true).len(), 1);
}
