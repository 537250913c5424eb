//! Every key of a fleet file, once: readers refuse what is not listed here, messages say what a key
//! wants in the words that stand here, and a test compares REFERENCE.md with it.

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The full path; `NAME` stands for any name.
    pub path: &'static str,
    /// What it takes.
    pub value: &'static str,
    /// What holds where it is absent, as TOML; or a word: `required`, `none`.
    pub default: &'static str,
}

impl Key {
    /// The last part of the path.
    pub fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

const fn key(path: &'static str, value: &'static str, default: &'static str) -> Key {
    Key {
        path,
        value,
        default,
    }
}

const NAME: &str = "a name of up to 64 letters, digits, '-' and '_'";
const REGION: &str = "the name of a [region.NAME]";
const STREAM: &str = "a stream name of up to 255 letters, digits, '-' and '_'";
const FILTERS: &str = "a list of NATS subject filters";
const PATH: &str = "the path of a PEM file";

/// All keys, in the order of REFERENCE.md.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("fleet", "a table, [fleet]", "required"),
    key("fleet.name", NAME, "required"),

    key("region", "a table for each region, [region.NAME]", "required"),
    key("region.NAME", "a table", "required"),
    key("region.NAME.listen", "an IP address and UDP port, such as \"0.0.0.0:7443\"", "none"),
    key("region.NAME.admin", "an IP address and TCP port, such as \"127.0.0.1:9464\"", "required"),
    key("region.NAME.state", "the path of a directory", "required"),
    key("region.NAME.rate", "a rate from 16 kbit/s to 1 Tbit/s, such as \"200 Mbit/s\"", "none"),
    key("region.NAME.timezone", "the name of a time zone, such as \"Europe/Berlin\"", "\"UTC\""),
    key("region.NAME.schedule", "a list of tables of days, from, to and rate", "none"),
    key("region.NAME.schedule.days", "a list of days or runs of days, such as [\"mon-fri\", \"sun\"]", "[\"mon-sun\"]"),
    key("region.NAME.schedule.from", "a time such as \"08:00\"", "required"),
    key("region.NAME.schedule.to", "a time such as \"18:00\", up to \"24:00\"", "required"),
    key("region.NAME.schedule.rate", "a rate from 16 kbit/s to 1 Tbit/s, such as \"20 Mbit/s\"", "required"),
    key("region.NAME.nats", "a table", "required"),
    key(
        "region.NAME.nats.url",
        "one or more of nats://HOST:PORT or tls://HOST:PORT, between commas",
        "required",
    ),
    key("region.NAME.nats.creds", "the path of a NATS credentials file", "none"),
    key("region.NAME.nats.domain", "the name of a JetStream domain", "none"),
    key("region.NAME.nats.tls", "a table", "none"),
    key("region.NAME.nats.tls.ca", PATH, "none"),
    key("region.NAME.nats.tls.cert", PATH, "none"),
    key("region.NAME.nats.tls.key", PATH, "none"),
    key("region.NAME.nats.tls.first", "true or false", "false"),
    key("region.NAME.tls", "a table", "required"),
    key("region.NAME.tls.cert", PATH, "required"),
    key("region.NAME.tls.key", PATH, "required"),
    key("region.NAME.tls.ca", PATH, "required"),

    key("link", "a list of tables, [[link]]", "none"),
    key(
        "link.regions",
        "two different regions: the one that listens, then the one that dials",
        "required",
    ),
    key("link.dial", "HOST:PORT, where the first of the two regions is reached", "required"),
    key("link.dial_back", "HOST:PORT, where the second of the two regions is reached", "none"),
    key("link.rate", "a rate from 16 kbit/s to 1 Tbit/s, such as \"50 Mbit/s\"", "none"),
    key("link.mode", "\"declared\", \"adaptive\" or \"scavenger\"", "\"declared\" with a rate, else \"adaptive\""),
    key("link.copies", "true or false", "true"),
    key("link.timezone", "the name of a time zone, such as \"Europe/Berlin\"", "\"UTC\""),
    key("link.schedule", "a list of tables of days, from, to and rate", "none"),
    key("link.schedule.days", "a list of days or runs of days, such as [\"mon-fri\", \"sun\"]", "[\"mon-sun\"]"),
    key("link.schedule.from", "a time such as \"08:00\"", "required"),
    key("link.schedule.to", "a time such as \"18:00\", up to \"24:00\"", "required"),
    key("link.schedule.rate", "a rate from 16 kbit/s to 1 Tbit/s, such as \"20 Mbit/s\"", "required"),
    key("link.monthly_cap", "a table", "none"),
    key("link.monthly_cap.bytes", "a number of bytes, such as \"2 TB\"", "required"),
    key("link.monthly_cap.warn_at", "a whole number from 1 to 100, in per cent", "80"),
    key("link.monthly_cap.then", "\"stall\", or a rate such as \"1 Mbit/s\"", "\"stall\""),
    key("link.monthly_cap.reset_day", "a whole number from 1 to 28", "1"),
    key("link.rtt", "a duration up to 10s, such as \"80ms\"", "none"),
    key("link.mtu", "a whole number from 1200 to 65527", "none"),

    key("route", "a list of tables, [[route]]", "none"),
    key("route.name", NAME, "required"),
    key("route.from", REGION, "required"),
    key("route.to", "a list of one or more regions", "required"),
    key("route.stream", STREAM, "required"),
    key("route.subjects", FILTERS, "[\">\"]"),
    key("route.target", STREAM, "the same as stream"),
    key(
        "route.start",
        "\"first\", \"new\", a sequence from 1, or a time with its zone",
        "\"first\"",
    ),
    key(
        "route.priority",
        "\"live\", \"normal\" or \"bulk\"",
        "live while current, bulk while catching up",
    ),
    key("route.dedupe_ids", "true or false", "true"),
    key("route.exactly_once", "\"always\" or \"window\"", "\"always\""),
    key("route.writers", "\"route\" or \"shared\"", "worked out from the fleet"),
    key("route.fence", "\"connection\" or \"sequence\"", "\"connection\""),
    key("route.create", "true, false, or a table", "false"),
    key("route.create.replicas", "a whole number from 1 to 5", "1"),
    key("route.create.storage", "\"file\" or \"memory\"", "\"file\""),
    key("route.create.max_age", "a duration from 100ms, such as \"7d\"", "none"),
    key("route.create.max_bytes", "a number of bytes, such as \"10GiB\"", "none"),
    key("route.create.max_msgs", "a whole number from 1", "none"),
    key("route.create.duplicate_window", "a duration from 100ms, such as \"2s\"", "\"2s\""),
    key("route.create.allow_batched", "true or false", "true"),
    key("route.create.persist_mode", "\"default\" or \"async\"", "\"default\""),

    key("class", "a list of tables, [[class]]", "none"),
    key("class.name", NAME, "required"),
    key("class.subjects", FILTERS, "required"),
    key("class.regions", "\"any\", or a list of one or more regions", "required"),
];

/// The key of that path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The keys directly below a path; "" for those at the top.
pub(crate) fn children(path: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.parent() == path)
}

/// The candidate that a mistyped name most likely meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance_max = (name.chars().count() / 3).max(1);
    let with_distance = candidates.into_iter().map(|candidate| {
        (
            edit_distance(&name.to_ascii_lowercase(), &candidate.to_ascii_lowercase()),
            candidate,
        )
    });
    let (_, candidate) = with_distance
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)?;
    Some(candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that make `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j - 1] + changed)
                .min(rows[i - 1][j] + 1)
                .min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_below_another_and_once() {
        for key in KEYS {
            assert!(
                key.parent().is_empty() || find(key.parent()).is_some(),
                "{}",
                key.path
            );
            assert_eq!(
                KEYS.iter().filter(|other| other.path == key.path).count(),
                1,
                "{}",
                key.path
            );
        }
    }

    #[test]
    fn nearest_finds_slips_and_no_more() {
        let keys = || children("route").map(Key::name);
        assert_eq!(nearest("subject", keys()), Some("subjects"));
        assert_eq!(nearest("form", keys()), Some("from"));
        assert_eq!(nearest("Stream", keys()), Some("stream"));
        assert_eq!(nearest("exactly-once", keys()), Some("exactly_once"));
        assert_eq!(nearest("bandwidth", keys()), None);
    }
}
