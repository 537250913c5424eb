//! `causeway check`: what flows where, with `--region` what a sidecar finds on this host, and with `--live` what the
//! servers say to it.

use std::process::ExitCode;

use causeway_config::plan::{ExactlyOnce, Plan, RegionPlan, RoutePlan, Writers};
use causeway_config::{Loaded, SubjectRefusal, subject_refusal};
use causeway_proto::id::RegionId;

use super::host;
use crate::app::control;
use crate::control::{Control, ControlError, StreamInfo};

/// A duplicate window above this costs the target's server real memory at any rate worth a route:
/// about 200 bytes an id.
const WINDOW_WARN_NS: u64 = 10_000_000_000;

pub(super) fn run(
    loaded: &Loaded,
    here: Option<&RegionId>,
    live: bool,
) -> anyhow::Result<ExitCode> {
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    print!("{}", causeway_config::report::describe(&loaded.plan));
    let here = here.and_then(|region| loaded.plan.region(region));
    let mut errors = 0;
    if let Some(own) = here {
        let host = host::look(&loaded.plan, own);
        println!("\nregion {} on this host:", own.id);
        host.facts.iter().for_each(|fact| println!("{fact}"));
        errors += tell("host looked at", &host.findings);
    }
    if live {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let regions = here.map_or_else(|| loaded.plan.regions(), std::slice::from_ref);
        let findings = runtime.block_on(ask_servers(&loaded.plan, regions))?;
        println!();
        errors += tell("servers asked", &findings);
    }
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        super::EXIT_USAGE.into()
    })
}

/// Prints what was found, and counts the errors among it.
fn tell(what: &str, findings: &[String]) -> usize {
    for finding in findings {
        println!("{finding}");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.starts_with("error"))
        .count();
    let warnings = findings.len() - errors;
    println!("{what}: {errors} errors, {warnings} warnings");
    errors
}

async fn ask_servers(plan: &Plan, regions: &[RegionPlan]) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for region in regions {
        let control = control(region, None).await?;
        for route in plan.leaving(&region.id) {
            let found = control.stream(route.stream.as_str()).await;
            findings.extend(judge_source(route, found));
        }
        for route in plan.arriving(&region.id) {
            findings.extend(judge_target(plan, route, &control).await);
        }
    }
    Ok(findings)
}

fn judge_source(route: &RoutePlan, found: Result<StreamInfo, ControlError>) -> Vec<String> {
    let place = format!(
        "route.{} stream {} in {}",
        route.name, route.stream, route.from
    );
    match found {
        Err(why) => vec![format!("error: {place}: {why}")],
        Ok(info) if !info.is_limits() => {
            vec![format!(
                "error: {place}: retention is not limits, which is all that can be read yet"
            )]
        }
        Ok(_) => Vec::new(),
    }
}

async fn judge_target(plan: &Plan, route: &RoutePlan, control: &Control) -> Vec<String> {
    let place = format!(
        "route.{} target {} in {}",
        route.name, route.target, route.to
    );
    let info = match control.stream(route.target.as_str()).await {
        Ok(info) => info,
        Err(why) if why.is_missing() && route.create.is_some() => {
            return judge_creation(plan, route, control, &place).await;
        }
        Err(why) => return vec![format!("error: {place}: {why}")],
    };
    let mut findings = Vec::new();
    let mut error = |text: &str| findings.push(format!("error: {place}: {text}"));
    if info
        .config
        .get("mirror")
        .is_some_and(|mirror| !mirror.is_null())
    {
        error("it is a mirror, which takes no publishes");
    }
    if info.flag("allow_msg_counter") {
        error("it is a counter stream");
    }
    let shared = route.writers == Writers::Shared;
    if shared && !info.is_limits() && route.exactly_once == ExactlyOnce::Always {
        error(
            "consumers remove what proves where a shared route stands; say exactly_once = \"window\"",
        );
    }
    let mut warn = |text: String| findings.push(format!("warning: {place}: {text}"));
    if !info.flag("allow_batched") {
        let how = if shared {
            "one publish at a time"
        } else {
            "a chain whose header is stored"
        };
        warn(format!(
            "no fast ingest (allow_batched): records go in by {how}"
        ));
    }
    let window = info.config["duplicate_window"].as_u64().unwrap_or(0);
    if route.dedupe_ids && window > WINDOW_WARN_NS {
        let seconds = window / 1_000_000_000;
        warn(format!(
            "duplicate_window is {seconds} s: about 200 bytes of server memory for each record of that time"
        ));
    }
    for (flag, header) in [
        ("allow_msg_ttl", "Nats-TTL"),
        ("allow_rollup_hdrs", "Nats-Rollup"),
    ] {
        if !info.flag(flag) {
            warn(format!("without {flag}, {header} is taken off records"));
        }
    }
    findings
}

/// What the server would say to a target that is missing and would be created.
async fn judge_creation(
    plan: &Plan,
    route: &RoutePlan,
    control: &Control,
    place: &str,
) -> Vec<String> {
    let mut findings = Vec::new();
    for subject in plan.subjects_created(&route.to, &route.target).filters() {
        match subject_refusal(subject) {
            Some(why @ SubjectRefusal::TakesIn(_)) => findings.push(format!(
                "warning: {place}: to be created with \"{subject}\": {why}"
            )),
            Some(why) => {
                findings.push(format!(
                    "error: {place}: to be created with \"{subject}\": {why} (10052)"
                ));
                continue; // every stream shares what this one wants
            }
            None => {}
        }
        match control.streams_sharing(subject.as_str()).await {
            Err(why) => findings.push(format!("error: {place}: {why}")),
            Ok(streams) if streams.is_empty() => {}
            Ok(streams) => findings.push(format!(
                "error: {place}: to be created with \"{subject}\", which overlaps with subjects of {} (10065)",
                streams.join(", ")
            )),
        }
    }
    findings
}
