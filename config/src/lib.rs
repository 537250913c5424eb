//! Causeway's fleet file: text in, every error at once, a typed plan out.
//!
//! One TOML file describes the whole fleet; every sidecar reads it and takes its own part. Parsing
//! is the only validation: what leaves this crate as a [`Plan`] needs no further check and holds no
//! text to parse. Whoever wrote the file gets every fault in one run, each with key, line, what was
//! found and what is wanted; where two keys contradict one another, both are named.
//!
//! `REFERENCE.md` describes every key, `examples/` holds files to start from.

// From text to plan.
pub mod keys;
mod read;

mod section;

mod check;

// What stands in a plan.
pub mod address;
pub mod change;
pub mod plan;
pub mod schedule;
pub mod secret;
pub mod unit;

// What people are told.
pub mod error;
pub mod report;

use std::path::Path;

use toml::de::DeTable;

pub use check::{SubjectRefusal, subject_refusal};
pub use error::{ConfigError, ConfigErrors, Location, Place, Warning};
pub use plan::{
    CreatePlan, ExactlyOnce, Fence, LinkMode, LinkPlan, LinkRole, NatsPlan, PersistMode, Plan,
    Priority, RegionPlan, RoutePlan, Start, Storage, Writers,
};

use crate::read::{Report, Table};

/// The name that messages use for a text that did not come from a file.
const UNNAMED: &str = "causeway.toml";

/// A fleet file that may be run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The fleet.
    pub plan: Plan,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
}

/// Reads a fleet file. Relative paths in it start from its directory.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let name = path.display().to_string();
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    match std::fs::read_to_string(path) {
        Ok(text) => parse_named(&name, &text, base),
        Err(why) => {
            let report = Report::new(&name, "", base);
            report.fault(
                &report.root(),
                format!("an unreadable file ({why})"),
                "a fleet file",
            );
            Err(ConfigErrors {
                errors: report.finish().0,
            })
        }
    }
}

/// Reads the text of a fleet file. Relative paths in it start from `base`.
pub fn parse(text: &str, base: &Path) -> Result<Loaded, ConfigErrors> {
    parse_named(UNNAMED, text, base)
}

fn parse_named(name: &str, text: &str, base: &Path) -> Result<Loaded, ConfigErrors> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let mut report = Report::new(name, text, base);
    report.add_syntax_errors(&syntax_errors);
    let drafts = section::Drafts::read(&Table::root(&report, document.get_ref()));
    let plan = check::into_plan(drafts, &report);
    match (plan, report.finish()) {
        (Some(plan), (errors, warnings)) if errors.is_empty() => Ok(Loaded { plan, warnings }),
        (_, (errors, _)) => Err(ConfigErrors { errors }),
    }
}
