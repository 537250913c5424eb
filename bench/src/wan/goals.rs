//! What Causeway is to reach against native in catch-up, and whether a row does.

use super::contender::Contender;
use super::data::Kind;
use super::report::Row;

/// A row that the CPU binds passes from this share of its loopback ceiling on.
const CEILING_SHARE: f64 = 0.85;

/// Records/s as a multiple of a native mirror's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    pub against: Contender,
    pub times: f64,
}

/// The goals are for Causeway as it is by default, with dedupe ids.
fn has_goals(row: &Row<'_>) -> bool {
    !row.contender.is_mirror() && row.contender.has_dedupe_ids() && row.link != "loopback"
}

/// The goals of a row; a row without any is only to work.
pub(crate) fn goals(row: &Row<'_>) -> Vec<Goal> {
    if !has_goals(row) {
        return Vec::new();
    }
    let bbr = |times| Goal {
        against: Contender::MirrorBbr,
        times,
    };
    if row.data == Kind::Random.name() {
        return vec![bbr(1.0)];
    }
    match row.link {
        "metro" => vec![bbr(1.2)],
        "atlantic" => vec![bbr(2.0)],
        "lossy" => vec![
            bbr(4.0),
            Goal {
                against: Contender::MirrorCubic,
                times: 80.0,
            },
        ],
        "bursty" => vec![bbr(4.0)],
        "thin" => vec![bbr(1.8)],
        _ => Vec::new(),
    }
}

fn records_per_second(row: &Row<'_>) -> f64 {
    row.median(|it| it.records_per_second)
}

/// Of the loopback ceiling with the same data in the same run.
pub(crate) fn share_of_ceiling(row: &Row<'_>, rows: &[&Row<'_>]) -> Option<f64> {
    let of = row.contender.ceiling()?;
    let ceiling = rows.iter().find(|it| {
        (it.link, it.data, it.contender) == ("loopback", row.data, of) && !it.good.is_empty()
    })?;
    (row.link != "loopback")
        .then(|| records_per_second(row) / records_per_second(ceiling).max(1e-9))
}

/// The cells `goal` and `holds` of a row that has samples.
pub(crate) fn cells(row: &Row<'_>, rows: &[&Row<'_>]) -> [String; 2] {
    let goals = goals(row);
    let text = |goal: &Goal| {
        let name = if goal.against == Contender::MirrorBbr {
            "BBR"
        } else {
            "CUBIC"
        };
        format!("x {} {name}", goal.times)
    };
    let goal = goals.iter().map(text).collect::<Vec<_>>().join(", ");
    if !has_goals(row) {
        return ["-".to_owned(), "-".to_owned()];
    }
    if goals.is_empty() {
        let works = records_per_second(row) > 0.0 && row.failed.is_empty();
        let works = if works { "yes" } else { "no" };
        return ["works".to_owned(), works.to_owned()];
    }
    let mut unmeasured = false;
    let reaches = goals.iter().all(|goal| {
        let native = rows.iter().find(|it| {
            (it.link, it.data, it.contender) == (row.link, row.data, goal.against)
                && !it.good.is_empty()
        });
        unmeasured |= native.is_none();
        native
            .is_none_or(|native| records_per_second(row) >= goal.times * records_per_second(native))
    });
    let ceiling = share_of_ceiling(row, rows).filter(|_| row.is_bound_by_cpu());
    let holds = match ceiling {
        _ if reaches && !unmeasured => "yes",
        Some(share) if share >= CEILING_SHARE => "yes, CPU",
        _ if reaches => "as far as measured",
        _ => "no",
    };
    [goal, holds.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Sample, sample};
    use super::*;

    fn measured(link: &str, contender: Contender, rate: f64, bound_by: &str) -> Sample {
        let mut sample = sample(None, contender, "orders", 0);
        sample.link = link.to_owned();
        sample.records_per_second = rate;
        sample.bound_by = bound_by.to_owned();
        sample
    }

    fn row(sample: &Sample) -> Row<'_> {
        Row {
            link: &sample.link,
            data: &sample.data,
            contender: sample.contender,
            good: vec![sample],
            failed: Vec::new(),
        }
    }

    fn verdict(causeway: f64, bound_by: &str, ceiling: Option<f64>, bbr: f64) -> String {
        let ours = measured("bursty", Contender::CausewayDeclared, causeway, bound_by);
        let bbr = measured("bursty", Contender::MirrorBbr, bbr, "link");
        let ceiling =
            ceiling.map(|it| measured("loopback", Contender::CausewayDeclared, it, "CPU"));
        let (ours, bbr) = (row(&ours), row(&bbr));
        let ceiling = ceiling.as_ref().map(row);
        let rows: Vec<&Row<'_>> = [&ours, &bbr].into_iter().chain(&ceiling).collect();
        let [goal, holds] = cells(&ours, &rows);
        assert_eq!(goal, "x 4 BBR");
        holds
    }

    #[test]
    fn a_row_reaches_its_multiple_or_where_the_cpu_binds_its_ceiling() {
        assert_eq!(verdict(400.0, "link", None, 100.0), "yes");
        assert_eq!(verdict(399.0, "link", None, 100.0), "no");
        assert_eq!(verdict(300.0, "CPU", Some(340.0), 100.0), "yes, CPU");
        assert_eq!(verdict(300.0, "CPU", Some(400.0), 100.0), "no");
        assert_eq!(verdict(300.0, "link", Some(340.0), 100.0), "no");
    }

    #[test]
    fn a_row_without_ids_has_a_ceiling_of_its_own_and_no_goal() {
        let samples = [
            measured("lossy", Contender::CausewayWithoutIds, 300.0, "CPU"),
            measured("loopback", Contender::CausewayDeclared, 320.0, "CPU"),
            measured("loopback", Contender::CausewayWithoutIds, 400.0, "CPU"),
        ];
        let rows = samples.each_ref().map(row);
        let rows: Vec<_> = rows.iter().collect();
        assert_eq!(share_of_ceiling(rows[0], &rows), Some(0.75));
        assert_eq!(cells(rows[0], &rows), ["-", "-"]);
        assert_eq!(share_of_ceiling(rows[0], &rows[..2]), None);
    }
}
