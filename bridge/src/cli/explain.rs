//! `causeway explain`: may a record of this subject travel, and by which rule.

use std::path::PathBuf;
use std::process::ExitCode;

use causeway_config::Loaded;
use causeway_proto::id::RegionId;
use causeway_proto::residency::{DenyReason, Verdict};
use clap::Args;

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The fleet file
    #[arg(long)]
    pub config: PathBuf,
    /// Region that the record is in
    #[arg(long)]
    pub from: String,
    /// Region that it would go to
    #[arg(long)]
    pub to: String,
    /// The record's subject
    #[arg(long)]
    pub subject: String,
    /// A header of the record, `Key: value`; headers decide nothing today
    #[arg(long)]
    pub header: Vec<String>,
}

/// Prints the rule. Exit status 0: it may travel; 1: it may not.
pub(super) fn run(loaded: &Loaded, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let (Some(from), Some(to)) = (
        super::known_region(loaded, "--from", &args.from),
        super::known_region(loaded, "--to", &args.to),
    ) else {
        return Ok(super::EXIT_USAGE.into());
    };
    let (line, may) = explain(loaded, &from, &to, args.subject.as_bytes());
    println!("{line}");
    Ok(if may {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn explain(loaded: &Loaded, from: &RegionId, to: &RegionId, subject: &[u8]) -> (String, bool) {
    let policy = loaded.plan.residency();
    match policy.judge(subject, to) {
        Verdict::Deny(DenyReason::NoClass) => (
            "no: the subject is in no class, so it leaves nowhere".into(),
            false,
        ),
        Verdict::Deny(DenyReason::Class(index)) => {
            let name = policy
                .classes()
                .get(index)
                .map_or("?", |class| class.name.as_str());
            (
                format!("no: class {name} does not allow region {to}"),
                false,
            )
        }
        Verdict::Forward => {
            let routes: Vec<_> = loaded
                .plan
                .leaving(from)
                .filter(|route| route.to == *to && route.subjects.matches(subject))
                .map(|route| {
                    format!(
                        "route {} from {} to {}",
                        route.name, route.stream, route.target
                    )
                })
                .collect();
            match routes.is_empty() {
                true => (
                    format!("no: residency allows it, but no route from {from} to {to} takes it"),
                    false,
                ),
                false => (format!("yes: by {}", routes.join(", ")), true),
            }
        }
    }
}
