//! Routes and filters of which nothing may travel: allowed, and surely not meant.

use causeway_proto::residency::{Passage, Reach};

use super::LegPlaces;
use crate::plan::Plan;
use crate::read::Report;
use crate::report::denials;

pub(super) fn warn(places: &[LegPlaces], plan: &Plan, report: &Report) {
    let policy = plan.residency();
    if policy.classes().is_empty() {
        if !plan.routes().is_empty() {
            let text = "there is none, so no record leaves any region (default deny)";
            report.warn(&report.root().child("class"), text, None);
        }
        return;
    }
    for (leg, places) in plan.routes().iter().zip(places) {
        let filters = leg.subjects.filters();
        let passages: Vec<Passage> = filters
            .iter()
            .map(|filter| policy.passage(filter, &leg.to))
            .collect();
        let is_never = |passage: &Passage| passage.reach() == Reach::Never;
        if passages.iter().all(is_never) {
            let denied: Vec<_> = passages
                .into_iter()
                .flat_map(|passage| passage.denied)
                .collect();
            let why = denials(&denied, policy);
            report.warn(
                &places.to,
                format!("nothing of this route may be in {}: {why}", leg.to),
                None,
            );
            continue;
        }
        for ((passage, filter), place) in passages.iter().zip(filters).zip(&places.subjects) {
            if is_never(passage) {
                let why = denials(&passage.denied, policy);
                report.warn(
                    place,
                    format!("nothing of \"{filter}\" may be in {}: {why}", leg.to),
                    None,
                );
            }
        }
    }
}
