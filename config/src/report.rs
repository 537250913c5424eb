//! What `causeway check` prints of a sound fleet: its links, its classes, and what flows where.
//!
//! Each row of the flows is proved from the file alone, by subject algebra. A record that is
//! relayed is judged again for each region that it enters, so the rows for a region say everything
//! that routes can bring there, over however many hops it comes.

use std::fmt;

use causeway_proto::residency::{Denial, DenyReason, Passage, Reach, Regions, ResidencyPolicy};
use causeway_proto::subject::SubjectFilter;

use crate::plan::{LinkPlan, Plan, RoutePlan};
use crate::schedule::Schedule;
use crate::unit::Rate;

/// Reasons that one line of text gives; a person needs the first ones.
const REASONS_MAX: usize = 3;

/// One filter of one leg, and what of it may reach the leg's target region.
#[derive(Debug, Clone)]
pub struct Flow<'a> {
    /// The leg.
    pub leg: &'a RoutePlan,
    /// One of its filters.
    pub filter: &'a SubjectFilter,
    /// What of it may be in the target region, and why.
    pub passage: Passage,
}

/// Every filter of every leg, in the order of the file.
pub fn flows(plan: &Plan) -> impl Iterator<Item = Flow<'_>> {
    plan.routes().iter().flat_map(|leg| {
        leg.subjects.filters().iter().map(|filter| {
            let passage = plan.residency().passage(filter, &leg.to);
            Flow {
                leg,
                filter,
                passage,
            }
        })
    })
}

/// The whole report as plain text, for a terminal and for `grep`: each row stands for itself.
pub fn describe(plan: &Plan) -> String {
    let mut out = format!(
        "fleet {}: {}, {}, {}, {}\n",
        plan.fleet(),
        count(plan.regions().len(), "region", "regions"),
        count(plan.links().len(), "link", "links"),
        count(plan.routes().len(), "route leg", "route legs"),
        count(plan.residency().classes().len(), "class", "classes"),
    );
    for table in [
        links_table(plan),
        classes_table(plan.residency()),
        flows_table(plan),
    ] {
        if table.rows.len() > 1 {
            out.push_str(&format!("\n{table}"));
        }
    }
    out
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn links_table(plan: &Plan) -> TextTable {
    let mut table = TextTable::new(["LISTENS", "DIALS", "AT", "RATE", "RTT"]);
    for LinkPlan {
        listener,
        dialer,
        dial,
        dial_back,
        rate,
        schedule,
        monthly_cap,
        rtt,
        ..
    } in plan.links()
    {
        let forth = Some((listener, dialer, dial));
        let back = dial_back.as_ref().map(|back| (dialer, listener, back));
        for (listens, dials, at) in forth.into_iter().chain(back) {
            table.row([
                listens.to_string(),
                dials.to_string(),
                at.to_string(),
                describe_rate(*rate, schedule, monthly_cap.is_some()),
                rtt.map_or("measured".to_owned(), |rtt| format!("{rtt:?}")),
            ]);
        }
    }
    table
}

fn describe_rate(rate: Option<Rate>, schedule: &Schedule, has_cap: bool) -> String {
    let mut text = rate.map_or_else(|| "probed".to_owned(), |rate| rate.to_string());
    match schedule.windows().len() {
        0 => {}
        windows => text += &format!(", {}", count(windows, "window", "windows")),
    }
    if has_cap {
        text += ", capped";
    }
    text
}

fn classes_table(policy: &ResidencyPolicy) -> TextTable {
    let mut table = TextTable::new(["CLASS", "MAY BE IN", "SUBJECTS"]);
    for class in policy.classes() {
        let regions = match &class.regions {
            Regions::Any => "any region".to_owned(),
            Regions::Only(regions) => list(regions),
        };
        table.row([class.name.to_string(), regions, list(&class.subjects)]);
    }
    table
}

fn flows_table(plan: &Plan) -> TextTable {
    let mut table = TextTable::new([
        "ROUTE",
        "FROM",
        "TO",
        "STREAM",
        "TARGET",
        "SUBJECTS",
        "REACHES IT",
        "WHY",
    ]);
    for Flow {
        leg,
        filter,
        passage,
    } in flows(plan)
    {
        let reach = match passage.reach() {
            Reach::Never => "never",
            Reach::Depends => "depends",
            Reach::Always => "always",
        };
        table.row([
            leg.name.to_string(),
            leg.from.to_string(),
            leg.to.to_string(),
            leg.stream.to_string(),
            leg.target.to_string(),
            filter.to_string(),
            reach.to_owned(),
            why(&passage, plan.residency()),
        ]);
    }
    table
}

/// What decides a passage: the classes that admit, and each reason that denies, with examples where
/// it depends on the subject.
pub fn why(passage: &Passage, policy: &ResidencyPolicy) -> String {
    let mut parts = Vec::new();
    if let Some(example) = &passage.admitted {
        let classes = passage
            .admitting
            .iter()
            .map(|index| class_name(policy, index));
        let classes = list(classes);
        match passage.denied.is_empty() {
            true => parts.push(format!("class {classes}")),
            false => parts.push(format!("{example} may (class {classes})")),
        }
    }
    if !passage.denied.is_empty() {
        parts.push(denials(&passage.denied, policy));
    }
    if !passage.complete {
        parts.push("filters too entangled for a full answer".to_owned());
    }
    parts.join("; ")
}

/// Why subjects are denied, a few reasons with an example each.
pub(crate) fn denials(denied: &[Denial], policy: &ResidencyPolicy) -> String {
    let parts = denied
        .iter()
        .take(REASONS_MAX)
        .map(|Denial { reason, example }| match reason {
            DenyReason::NoClass => format!("{example} may not (in no class)"),
            DenyReason::Class(class) => {
                format!(
                    "{example} may not (kept out by class {})",
                    class_name(policy, *class)
                )
            }
        });
    let more = match denied.len().saturating_sub(REASONS_MAX) {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    format!("{}{more}", parts.collect::<Vec<_>>().join("; "))
}

fn class_name(policy: &ResidencyPolicy, index: usize) -> &str {
    policy
        .classes()
        .get(index)
        .map_or("?", |class| class.name.as_str())
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Columns under headings, two spaces apart, without trailing space.
struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.map(str::to_owned).into()],
        }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FLEET: &str = r#"
        [fleet]
        name = "shop"
        [region.us]
        nats = { url = "nats://10.0.0.1" }
        listen = "0.0.0.0:7443"
        admin = "127.0.0.1:9464"
        state = "state"
        tls = { cert = "us.pem", key = "us.key", ca = "ca.pem" }
        [region.eu]
        nats = { url = "nats://10.1.0.1" }
        admin = "127.0.0.1:9464"
        state = "state"
        tls = { cert = "eu.pem", key = "eu.key", ca = "ca.pem" }
        [[link]]
        regions = ["us", "eu"]
        dial = "us.example.com:7443"
        rate = "50 Mbit/s"
        [[route]]
        name = "orders"
        from = "eu"
        to = ["us"]
        stream = "ORDERS"
        subjects = ["orders.new", "orders.by.>", "consent.>"]
        target = "ORDERS_EU"
        [[class]]
        name = "trade"
        subjects = ["orders.>"]
        regions = "any"
        [[class]]
        name = "gdpr"
        subjects = ["consent.>", "orders.by.*.pii"]
        regions = ["eu"]
    "#;

    #[test]
    fn says_what_flows_and_why() {
        let plan = crate::parse(FLEET, Path::new("")).unwrap().plan;
        let expected = "\
fleet shop: 2 regions, 1 link, 1 route leg, 2 classes

LISTENS  DIALS  AT                   RATE       RTT
us       eu     us.example.com:7443  50 Mbit/s  measured

CLASS  MAY BE IN   SUBJECTS
trade  any region  orders.>
gdpr   eu          consent.>, orders.by.*.pii

ROUTE   FROM  TO  STREAM  TARGET     SUBJECTS     REACHES IT  WHY
orders  eu    us  ORDERS  ORDERS_EU  orders.new   always      class trade
orders  eu    us  ORDERS  ORDERS_EU  orders.by.>  depends     orders.by.x may (class trade); \
orders.by.x.pii may not (kept out by class gdpr)
orders  eu    us  ORDERS  ORDERS_EU  consent.>    never       consent.x may not (kept out by class gdpr)
";
        assert_eq!(describe(&plan), expected);
    }

    #[test]
    fn default_deny_is_named() {
        let text = FLEET.replace("\"orders.>\"", "\"other.>\"");
        let loaded = crate::parse(&text, Path::new("")).unwrap();
        assert!(describe(&loaded.plan).contains("orders.new may not (in no class)"));
        let warning = loaded.warnings[0].to_string();
        assert!(
            warning.contains("nothing of this route may be in us"),
            "{warning}"
        );
    }
}
