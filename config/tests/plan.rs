//! What a sound file becomes: defaults, units, views by region, warnings.

use std::path::Path;
use std::time::Duration;

use causeway_config::address::NatsAuth;
use causeway_config::unit::{ByteSize, Rate};
use causeway_config::{
    CreatePlan, ExactlyOnce, Fence, LinkMode, LinkRole, Loaded, PersistMode, Start, Storage,
    Writers,
};
use causeway_proto::id::{RegionId, RouteName, SourceSeq, StoredAt};

/// A third region, without a link.
const ASIA: &str = "[region.asia]\nnats = { url = \"h\" }\nadmin = \"127.0.0.1:1\"\nstate = \"s\"\n\
    listen = \"0.0.0.0:1\"\ntls = { cert = \"c\", key = \"k\", ca = \"a\" }\n";

/// Two linked regions and a class for everything; `rest` follows.
fn fleet(rest: &str) -> String {
    format!(
        r#"
[fleet]
name = "shop"
[region.us]
nats = {{ url = "nats://app:hunter2@127.0.0.1,tls://[::1]:4333", domain = "hub" }}
listen = "0.0.0.0:7443"
admin = "127.0.0.1:9464"
state = "state/us"
tls = {{ cert = "us.pem", key = "/secret/hunter2.key", ca = "ca.pem" }}
[region.eu]
nats = {{ url = "nats://127.0.0.1:4222", creds = "hunter2.creds", tls = {{ ca = "ca.pem", first = true }} }}
admin = "127.0.0.1:9465"
state = "state/eu"
tls = {{ cert = "eu.pem", key = "eu.key", ca = "ca.pem" }}
[[link]]
regions = ["us", "eu"]
dial = "us.example.com:7443"
rate = "1.5 Gbit/s"
rtt = "80ms"
mtu = 1400
[[class]]
name = "all"
subjects = [">"]
regions = "any"
{rest}"#
    )
}

fn route(name: &str, from: &str, to: &str, rest: &str) -> String {
    format!("[[route]]\nname = {name:?}\nfrom = {from:?}\nto = [{to:?}]\n{rest}\n")
}

fn load(text: &str) -> Loaded {
    causeway_config::parse(text, Path::new("/etc/causeway")).unwrap_or_else(|e| panic!("{e}"))
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).expect("a valid name")
}

/// The only leg of a fleet with this one route.
fn leg(rest: &str) -> causeway_config::RoutePlan {
    let text = fleet(&route(
        "r",
        "us",
        "eu",
        &format!("stream = \"ORDERS\"\n{rest}"),
    ));
    let mut legs = load(&text).plan.routes().to_vec();
    assert_eq!(legs.len(), 1);
    legs.remove(0)
}

#[test]
fn defaults_of_a_route() {
    let leg = leg("");
    assert_eq!((leg.from, leg.to), (region("us"), region("eu")));
    assert_eq!(leg.target, leg.stream);
    assert!(leg.subjects.is_all());
    assert_eq!((leg.start, leg.priority), (Start::First, None));
    assert!(leg.dedupe_ids);
    assert_eq!(
        (leg.exactly_once, leg.writers),
        (ExactlyOnce::Always, Writers::Route)
    );
    assert_eq!((leg.fence, leg.create), (Fence::Connection, None));
}

#[test]
fn starts() {
    let start = |value: &str| leg(&format!("start = {value}")).start;
    assert_eq!(start("\"new\""), Start::New);
    assert_eq!(start("17"), Start::Sequence(SourceSeq(17)));
    let noon = Start::Time(StoredAt(1_767_268_800_000_000_000));
    assert_eq!(start("\"2026-01-01T12:00:00Z\""), noon);
    assert_eq!(start("2026-01-01T12:00:00Z"), noon);
    assert_eq!(start("2026-01-01 13:00:00+01:00"), noon);
}

#[test]
fn creation() {
    let create = |value: &str| leg(&format!("create = {value}")).create;
    assert_eq!(create("false"), None);
    assert_eq!(create("true"), Some(CreatePlan::default()));
    let full = r#"{ replicas = 3, storage = "memory", max_age = "7d", max_bytes = "10GiB",
        max_msgs = 1_000_000, duplicate_window = "100ms", allow_batched = false }"#;
    let expected = CreatePlan {
        replicas: 3,
        storage: Storage::Memory,
        max_age: Some(Duration::from_secs(7 * 86_400)),
        max_bytes: Some(ByteSize(10 << 30)),
        max_msgs: Some(1_000_000),
        duplicate_window: Duration::from_millis(100),
        allow_batched: false,
        persist_mode: PersistMode::Default,
    };
    assert_eq!(create(full), Some(expected));
    let quick = create(r#"{ persist_mode = "async" }"#).unwrap();
    assert_eq!(quick.persist_mode, PersistMode::Async);
    let short = create(r#"{ max_age = "1s" }"#).unwrap();
    assert_eq!(
        short.duplicate_window,
        Duration::from_secs(1),
        "the server refuses a longer one"
    );
}

#[test]
fn the_mode_of_a_link_follows_its_rate_unless_it_is_said() {
    let mode = |line: &str| {
        let text = fleet("").replace("rate = \"1.5 Gbit/s\"", line);
        causeway_config::parse(&text, Path::new("/etc/causeway"))
            .map(|loaded| loaded.plan.links()[0].mode)
            .map_err(|errors| errors.to_string())
    };
    assert_eq!(mode("rate = \"5 Mbit/s\""), Ok(LinkMode::Declared));
    assert_eq!(mode(""), Ok(LinkMode::Adaptive));
    let scavenger = mode("rate = \"5 Mbit/s\"\nmode = \"scavenger\"");
    assert_eq!(scavenger, Ok(LinkMode::Scavenger));
    let why = mode("mode = \"declared\"").unwrap_err();
    assert!(why.contains("there is no rate"), "{why}");
}

#[test]
fn live_records_are_copied_unless_the_link_says_no() {
    let copies = |line: &str| {
        let text = fleet("").replace("rate = \"1.5 Gbit/s\"", line);
        causeway_config::parse(&text, Path::new("/etc/causeway"))
            .map(|loaded| loaded.plan.links()[0].copies)
            .map_err(|errors| errors.to_string())
    };
    assert_eq!(copies(""), Ok(true));
    assert_eq!(copies("copies = false"), Ok(false));
    let why = copies("copies = 2").unwrap_err();
    assert!(why.contains("true or false"), "{why}");
}

#[test]
fn a_region_has_a_rate_of_its_own_if_it_says_so() {
    let rate = |text: &str| load(text).plan.region(&region("us")).unwrap().rate;
    assert_eq!(rate(&fleet("")), None);
    let state = "state = \"state/us\"";
    let text = fleet("").replace(state, &format!("{state}\nrate = \"200 Mbit/s\""));
    assert_eq!(rate(&text), Some(Rate::from_bits_per_second(200_000_000)));
}

#[test]
fn regions_and_links() {
    let plan = load(&fleet("")).plan;
    let (us, eu) = (region("us"), region("eu"));
    let link = plan.link_between(&eu, &us).unwrap();
    assert_eq!(link.rate, Some(Rate::from_bits_per_second(1_500_000_000)));
    assert_eq!(
        (link.rtt, link.mtu),
        (Some(Duration::from_millis(80)), Some(1400))
    );
    assert_eq!(plan.links_of(&us).next().unwrap().0, LinkRole::Listens);
    assert_eq!(plan.links_of(&eu).next().unwrap().0, LinkRole::Dials);
    assert_eq!(link.peer_of(&us), Some(&eu));
    assert_eq!(link.peer_of(&region("asia")), None);
    assert_eq!(link.dialled_from(&eu), Some(&link.dial));
    assert_eq!(link.dialled_from(&us), None);
    let nats = &plan.region(&us).unwrap().nats;
    assert!(matches!(&nats.urls[0].auth, Some(NatsAuth::UserPassword(user, _)) if user == "app"));
    assert_eq!(nats.urls[1].to_string(), "tls://[::1]:4333");
    assert!(nats.requires_tls() && plan.region(&eu).unwrap().nats.requires_tls());
    let state = plan.region(&us).unwrap().state.clone();
    assert_eq!(state, Path::new("/etc/causeway/state/us"));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", load(&fleet("")));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn legs_are_found_by_region() {
    let both =
        route("out", "us", "eu", "stream = \"A\"") + &route("back", "eu", "us", "stream = \"B\"");
    let plan = load(&fleet(&both)).plan;
    let names = |legs: Vec<&causeway_config::RoutePlan>| -> Vec<String> {
        legs.iter().map(|leg| leg.name.to_string()).collect()
    };
    let (us, eu) = (region("us"), region("eu"));
    assert_eq!(names(plan.leaving(&us).collect()), ["out"]);
    assert_eq!(names(plan.arriving(&us).collect()), ["back"]);
    assert!(plan.leg(&RouteName::new("out").unwrap(), &eu).is_some());
    assert!(plan.leg(&RouteName::new("out").unwrap(), &us).is_none());
}

#[test]
fn a_stream_that_also_flows_back_is_shared() {
    let both =
        route("out", "us", "eu", "stream = \"A\"") + &route("back", "eu", "us", "stream = \"A\"");
    let loaded = load(&fleet(&both));
    assert!(
        loaded
            .plan
            .routes()
            .iter()
            .all(|leg| leg.writers == Writers::Shared)
    );
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("only their hops keep records from going in a circle"));
}

fn warns(text: &str, expected: &str) {
    let warnings: Vec<String> = load(text)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    let is_told = warnings.iter().any(|warning| warning.contains(expected));
    assert!(is_told, "{expected:?} is not among {warnings:#?}");
}

#[test]
fn idle_parts_are_a_warning() {
    warns(&fleet(""), "no route uses it");
    warns(&fleet(ASIA), "no link ends here");
}

#[test]
fn what_may_never_travel_is_a_warning() {
    let all = fleet(&route("r", "us", "eu", "stream = \"A\""));
    let class = all.find("[[class]]").unwrap()..all.find("[[route]]").unwrap();
    let mut classless = all.clone();
    classless.replace_range(class, "");
    warns(&classless, "no record leaves any region");
    let kept_out = "nothing of this route may be in eu: x may not (kept out by class all)";
    warns(&all.replace("\"any\"", "[\"us\"]"), kept_out);
    let two = route(
        "r",
        "us",
        "eu",
        "stream = \"A\"\nsubjects = [\"a.>\", \"pii.>\"]",
    );
    let dead = "nothing of \"pii.>\" may be in eu: pii.x may not (in no class)";
    warns(&fleet(&two).replace("\">\"", "\"a.>\""), dead);
}

#[test]
fn a_record_that_comes_by_two_ways_is_a_warning() {
    let links = "[[link]]\nregions = [\"us\", \"asia\"]\ndial = \"us.example.com:7443\"\n\
                [[link]]\nregions = [\"asia\", \"eu\"]\ndial = \"asia.example.com:1\"\n";
    let to_both = |subjects: [&str; 2]| {
        let both = |name, from, others: &str, subjects: &str| {
            format!(
                "[[route]]\nname = {name:?}\nfrom = {from:?}\nto = [{others}]\nstream = \"A\"\nsubjects = [{subjects:?}]\n"
            )
        };
        let us = both("of-us", "us", "\"eu\", \"asia\"", subjects[0]);
        let eu = both("of-eu", "eu", "\"us\", \"asia\"", subjects[1]);
        fleet(&[ASIA, links, &us, &eu].concat())
    };
    warns(
        &to_both(["a.>", "a.>"]),
        "us publishes comes to A in asia by two ways",
    );
    let apart = load(&to_both(["a.us.>", "a.eu.>"])).warnings;
    assert!(!apart.iter().any(|it| it.to_string().contains("two ways")));
}

#[test]
fn sharing_a_machine_is_a_warning() {
    let local = fleet("").replace("us.example.com", "localhost");
    let same_state = local.replace("state/us", "state/eu");
    warns(
        &same_state,
        "us uses the same state directory on the same machine",
    );
    let same_admin = local.replace("9465", "9464");
    warns(
        &same_admin,
        "us uses the same admin address on the same machine",
    );
}

#[test]
fn a_password_in_clear_is_a_warning() {
    let remote = fleet("").replace("@127.0.0.1,", "@nats.example.com,");
    warns(&remote, "may cross the network in clear");
}

#[test]
fn what_a_server_will_not_create_is_a_warning() {
    let create = |stream: &str, target: &str, subjects: &str| {
        format!("stream = {stream:?}\ntarget = {target:?}\nsubjects = [{subjects}]\ncreate = true")
    };
    let all = route("r", "us", "eu", "stream = \"A\"\ncreate = true");
    let why =
        "\">\" would be a subject of the new stream A, but a server gives no stream every subject";
    warns(&fleet(&all), why);
    let wild = route("r", "us", "eu", &create("A", "A", "\"*.>\""));
    warns(
        &fleet(&wild),
        "it takes in $JS.>, which nats-server 2.15 keeps for itself",
    );
    let one = route("r", "us", "eu", &create("A", "C", "\"a.*.new\""));
    let two = route("s", "us", "eu", &create("B", "C", "\"a.b.>\""));
    let why = "\"a.b.>\" and \"a.*.new\" would both be subjects of the new stream C";
    warns(&fleet(&format!("{one}{two}")), why);
    let local = route("s", "eu", "us", "stream = \"B\"\nsubjects = [\"a.>\"]");
    let why =
        "\"a.*.new\" would be a subject of the new stream C in eu, where B has \"a.>\" already";
    warns(&fleet(&format!("{one}{local}")), why);
    let sound = load(&fleet(&format!("{one}{}", local.replace("a.>", "b.>"))));
    assert!(sound.warnings.is_empty(), "{:?}", sound.warnings);
}

#[test]
fn doubtful_targets_are_a_warning() {
    let alone = route("r", "us", "eu", "stream = \"A\"\nwriters = \"route\"");
    let back = route("s", "eu", "us", "stream = \"A\"");
    warns(
        &fleet(&(alone + &back)),
        "where applications publish there, say \"shared\"",
    );
    let one = route(
        "r",
        "us",
        "eu",
        "stream = \"A\"\nsubjects = [\"a.*\"]\ncreate = true",
    );
    let two = route(
        "s",
        "us",
        "eu",
        "stream = \"B\"\nsubjects = [\"*.b\"]\ncreate = true",
    );
    warns(&fleet(&(one + &two)), "the server refuses the second");
}
