use std::collections::BTreeSet;

use causeway_proto::id::{RegionId, RouteName, StreamName};

use super::*;
use crate::link::{DeclaredRate, Refusals};
use crate::status::{
    Board, CapStatus, CertificateStatus, LinkState, LinkStatus, OutcomeCounts, RateReason,
    RouteDirection, RouteState, RouteStatus,
};

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn route(direction: RouteDirection) -> RouteStatus {
    RouteStatus::new(
        RouteName::new("orders").unwrap(),
        direction,
        region("us"),
        StreamName::new("ORDERS").unwrap(),
        StreamName::new("ORDERS_EU").unwrap(),
    )
}

/// A sidecar that knows everything there is to know.
fn busy() -> StatusReport {
    let refusals = Refusals::default();
    refusals.count("wrong_region");
    let board = Board::new(region("eu"), refusals);
    let connection = board.register_connection("source");
    connection.send_modify(|status| status.up = true);
    let link = board.register_link(LinkStatus::new(region("us")));
    link.send_modify(|status| {
        status.state = LinkState::Up;
        status.rtt_ms = Some(80.0);
        status.sent_bytes = 1234;
    });
    let rate = DeclaredRate::new(Some(20_000_000));
    let told = board.register_rate(&region("us"), rate);
    told.send_modify(|status| {
        status.reason = RateReason::MonthlyCap;
        status.cap = Some(CapStatus {
            limit_bytes: 1000,
            warn_bytes: 800,
            used_bytes: 1001,
            state: "reached",
            resets_at: 1_800_000_000.0,
        });
    });
    let _region = board.register_region_rate(DeclaredRate::new(Some(30_000_000)));
    let out = board.register_route(route(RouteDirection::Out));
    out.send_modify(|status| {
        status.state = RouteState::CatchingUp;
        status.watermark = Some(41);
        status.epoch = Some(1);
        status.lag_records = Some(9);
        status.replicated_through = Some(1_700_000_000.5);
        status.last_progress = Some(1_700_000_001.0);
        status.checkpointed = Some(1_700_000_001.0);
        status.outcomes = OutcomeCounts {
            read: 12,
            stored: 9,
            denied: 1,
            pending: 2,
            ..OutcomeCounts::default()
        };
        (status.plain_bytes, status.wire_bytes) = (4000, 1000);
        status.denied_by_class.insert("gdpr".into(), 1);
        for records in [1, 3, 4, 500] {
            status.batch_sizes.add(records);
        }
    });
    let _in = board.register_route(route(RouteDirection::In));
    let mut report = board.snapshot();
    report.certificates.push(CertificateStatus {
        which: "own",
        path: "eu.pem".into(),
        days_left: Some(-3),
        ends_at: Some(1_700_000_000),
    });
    if let Some(rate) = &mut report.links[0].rate {
        rate.in_use_bits_per_second = Some(19_000_000);
        rate.wire_sent_bytes = 5678;
    }
    report
}

fn idle() -> StatusReport {
    let board = Board::new(region("eu"), Refusals::default());
    let _link = board.register_link(LinkStatus::new(region("us")));
    let _out = board.register_route(route(RouteDirection::Out));
    board.snapshot()
}

#[tokio::test]
async fn a_scrape_says_what_the_report_says() {
    let text = render(&busy()).unwrap();
    for line in [
        r#"causeway_link_up{peer="us"} 1"#,
        r#"causeway_link_rtt_seconds{peer="us"} 0.08"#,
        r#"causeway_link_sent_bytes_total{peer="us"} 1234"#,
        r#"causeway_link_refused_total{reason="wrong_region"} 1"#,
        r#"causeway_link_wire_sent_bytes_total{peer="us"} 5678"#,
        r#"causeway_link_rate_bits_per_second{peer="us"} 20000000"#,
        r#"causeway_link_rate_in_use_bits_per_second{peer="us"} 19000000"#,
        r#"causeway_reloads_total{outcome="refused"} 0"#,
        r#"causeway_link_rate_reason{peer="us",reason="monthly_cap"} 1"#,
        r#"causeway_link_rate_reason{peer="us",reason="schedule"} 0"#,
        r#"causeway_link_cap_used_bytes{peer="us"} 1001"#,
        r#"causeway_link_cap_warning{peer="us"} 1"#,
        r#"causeway_link_cap_reached{peer="us"} 1"#,
        "causeway_region_rate_bits_per_second 30000000",
        r#"causeway_compression_ratio{route="orders",peer="us",direction="out"} 4"#,
        "causeway_reload_ok 1",
        r#"causeway_nats_up{connection="source"} 1"#,
        r#"causeway_route_state{route="orders",peer="us",direction="out",state="catching_up"} 1"#,
        r#"causeway_route_state{route="orders",peer="us",direction="out",state="stalled"} 0"#,
        r#"causeway_records_total{route="orders",peer="us",outcome="stored"} 9"#,
        r#"causeway_records_read_total{route="orders",peer="us"} 10"#,
        r#"causeway_pending_records{route="orders",peer="us"} 2"#,
        r#"causeway_denied_records_total{route="orders",peer="us",class="gdpr"} 1"#,
        r#"causeway_accounting_balanced{route="orders",peer="us"} 1"#,
        r#"causeway_lag_records{route="orders",peer="us"} 9"#,
        r#"causeway_replicated_through_timestamp_seconds{route="orders",peer="us"} 1700000000.5"#,
        r#"causeway_batch_records_bucket{route="orders",peer="us",direction="out",le="1"} 1"#,
        r#"causeway_batch_records_bucket{route="orders",peer="us",direction="out",le="4"} 3"#,
        r#"causeway_batch_records_bucket{route="orders",peer="us",direction="out",le="+Inf"} 4"#,
        r#"causeway_batch_records_sum{route="orders",peer="us",direction="out"} 508"#,
        r#"causeway_certificate_expiry_days{which="own"} -3"#,
        r#"causeway_certificate_expiry_timestamp_seconds{which="own"} 1700000000"#,
    ] {
        assert!(
            text.lines().any(|got| got == line),
            "{line} is missing in\n{text}"
        );
    }
}

#[tokio::test]
async fn what_is_not_known_has_no_series() {
    let text = render(&idle()).unwrap();
    for name in [
        "causeway_lag_records",
        "causeway_replicated_through_timestamp_seconds",
        "causeway_last_progress_timestamp_seconds",
        "causeway_link_rtt_seconds",
        "causeway_link_rate_in_use_bits_per_second",
        "causeway_checkpoint_age_seconds",
        "causeway_watermark_sequence",
        "causeway_certificate_expiry_days",
    ] {
        let series = text.lines().find(|line| line.starts_with(name));
        assert_eq!(series, None);
    }
    assert!(text.contains(r#"causeway_link_up{peer="us"} 0"#));
}

#[tokio::test]
async fn every_metric_is_shown_and_every_name_follows_the_rule() {
    let text = render(&busy()).unwrap();
    for metric in ALL {
        let name = metric.name;
        assert!(
            text.contains(&format!("# TYPE {name} ")),
            "{name} is declared and never set"
        );
        assert!(
            text.contains(&format!("# HELP {name} {}", metric.help)),
            "{name} has no help"
        );
        assert!(
            metric.help.ends_with('.'),
            "{name}: a help text is a sentence"
        );
        if metric.kind == Kind::Counter {
            assert!(name.ends_with("_total"), "{name}: counters end in _total");
        }
    }
    let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), ALL.len(), "each name once");
}

/// The runbook explains every metric, with its labels, and no other; alerts and dashboard use no other either.
#[test]
fn runbook_alerts_and_dashboard_know_the_metrics() {
    let runbook = include_str!("../../../deploy/OPERATING.md");
    let rows: BTreeSet<(&str, Vec<&str>)> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .filter(|(name, _)| name.starts_with("causeway_") || name.starts_with("process_"))
        .map(|(name, rest)| {
            let labels = rest.split('|').next().unwrap_or_default().trim();
            (
                name,
                labels
                    .split(", ")
                    .filter(|label| !label.is_empty())
                    .collect(),
            )
        })
        .collect();
    let known = ALL
        .iter()
        .map(|metric| (metric.name, metric.labels.to_vec()))
        .collect();
    let (missing, extra): (Vec<_>, Vec<_>) = (
        BTreeSet::difference(&known, &rows).collect(),
        rows.difference(&known).collect(),
    );
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:?}\nextra: {extra:?}"
    );

    for (file, text) in [
        ("alerts.yml", ALERTS),
        ("grafana-dashboard.json", DASHBOARD),
    ] {
        for word in text.split(|c| !is_name(c)) {
            let base = word.trim_end_matches("_bucket").trim_end_matches("_sum");
            let is_ours = word.starts_with("causeway_") || word.starts_with("process_");
            assert!(!is_ours || metric(base).is_some(), "{file}: {word}");
        }
    }
}

const ALERTS: &str = include_str!("../../../deploy/alerts.yml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana-dashboard.json");

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn metric(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

/// Panels lie beside each other and say what they show; their queries choose by labels and values that are there.
#[tokio::test]
async fn the_dashboard_holds_together() {
    let scrape = render(&busy()).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut covered = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let place = &panel["gridPos"];
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| place[key].as_u64().unwrap());
        assert!(x + w <= 24, "{title}: beyond 24 columns");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(covered.insert(cell), "{title}: over another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].is_string(), "{title}: no description");
        let shown = &panel["fieldConfig"]["defaults"];
        let shows_words = shown["mappings"].is_array();
        assert!(shows_words || shown["unit"].is_string(), "{title}: no unit");
        for target in panel["targets"].as_array().unwrap() {
            check_selectors(target["expr"].as_str().unwrap(), &scrape);
        }
    }
}

fn check_selectors(expr: &str, scrape: &str) {
    for (at, _) in expr.match_indices('{') {
        let name = expr[..at].rsplit(|c| !is_name(c)).next().unwrap();
        let labels = match metric(name) {
            Some(metric) => metric.labels,
            None if name == "up" => &[],
            None => panic!("{name} is nobody's metric: {expr}"),
        };
        let (selector, _) = expr[at + 1..].split_once('}').unwrap();
        for matcher in selector.split(',') {
            let label = matcher.split(|c| !is_name(c)).next().unwrap();
            let is_known = labels.contains(&label) || ["job", "instance"].contains(&label);
            assert!(is_known, "{name} has no label {label}: {expr}");
            let is_value = !matcher.contains('~') && label != "job";
            let value = matcher.replace('!', "");
            assert!(!is_value || scrape.contains(&value), "{value}: {expr}");
        }
    }
}

#[test]
fn states_in_the_runbook_are_the_states() {
    let runbook = include_str!("../../../deploy/OPERATING.md");
    for state in RouteState::ALL {
        let row = format!("| `{}` |", state.as_str());
        assert!(runbook.contains(&row), "OPERATING.md has no row {row}");
    }
}
