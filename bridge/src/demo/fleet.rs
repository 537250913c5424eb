//! The demo's world as numbers and as a fleet file: two regions, one link, two routes in opposite directions.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::{PERSONAL_PREFIX, Trade};
use crate::wan::{Limit, Profile};

/// One way across the emulated WAN; the round trip is twice that.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(40);
/// 1 % of the packets, each way.
pub(crate) const LOSS_PPM: u32 = 10_000;
/// What the WAN carries.
pub(crate) const WAN_RATE_BPS: u64 = 25_000_000;
/// What the fleet file declares: a little less, so that no queue builds up.
const DECLARED_RATE: &str = "20 Mbit/s";
/// A tenth of a second of the WAN's rate, as a good router would have.
const QUEUE_BYTES_MAX: u64 = WAN_RATE_BPS / 8 / 10;

/// The server's minimum: its dedupe must not hide the sidecars' faults.
const DUPLICATE_WINDOW: &str = "100ms";

/// One route of the demo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoutePlan {
    pub name: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    pub stream: &'static str,
    pub target: &'static str,
    pub trade: Trade,
    pub seed: u64,
}

/// The region whose sidecar dials.
pub(crate) const DIALLER: &str = "us";
/// The region whose sidecar listens, and is killed.
pub(crate) const LISTENER: &str = "eu";

pub(crate) const ROUTES: [RoutePlan; 2] = [
    RoutePlan {
        name: "store-to-eu",
        from: DIALLER,
        to: LISTENER,
        stream: "STORE",
        target: "STORE_FROM_US",
        trade: Trade::Shop,
        seed: 11,
    },
    RoutePlan {
        name: "field-to-us",
        from: LISTENER,
        to: DIALLER,
        stream: "FIELD",
        target: "FIELD_FROM_EU",
        trade: Trade::Field,
        seed: 12,
    },
];

/// Both directions of the WAN.
pub(crate) fn wan() -> Profile {
    Profile {
        delay: ONE_WAY,
        rate_bps: Some(WAN_RATE_BPS),
        queue: Limit::Bytes(QUEUE_BYTES_MAX),
        loss: f64::from(LOSS_PPM) / 1e6,
        ..Profile::default()
    }
}

/// What the fleet file says of one region.
#[derive(Debug, Clone)]
pub(crate) struct RegionPlan {
    pub name: &'static str,
    pub nats_url: String,
    pub listen: Option<SocketAddr>,
    pub admin: SocketAddr,
}

/// The demo's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout(pub PathBuf);

impl Layout {
    pub(crate) fn fleet_file(&self) -> PathBuf {
        self.0.join("causeway.toml")
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.0.join("certs")
    }

    /// Of one region: the server's store and configuration, the sidecar's state, both logs.
    pub(crate) fn region(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn sidecar_log(&self, region: &str) -> PathBuf {
        self.region(region).join("sidecar.log")
    }
}

/// The fleet file.
pub(crate) fn fleet_text(layout: &Layout, regions: &[RegionPlan], dial: SocketAddr) -> String {
    let mut text = "[fleet]\nname = \"demo\"\n".to_owned();
    for region in regions {
        text.push_str(&region_text(layout, region));
    }
    text.push_str(&format!(
        "\n[[link]]\nregions = [\"{LISTENER}\", \"{DIALLER}\"]\ndial = \"{dial}\"\nrate = \"{DECLARED_RATE}\"\n"
    ));
    for route in &ROUTES {
        text.push_str(&format!(
            "\n[[route]]\nname = \"{}\"\nfrom = \"{}\"\nto = [\"{}\"]\nstream = \"{}\"\nsubjects = {:?}\n\
             target = \"{}\"\nstart = \"first\"\ncreate = {{ duplicate_window = \"{DUPLICATE_WINDOW}\" }}\n",
            route.name, route.from, route.to, route.stream, route.trade.subjects(), route.target,
        ));
    }
    let personal = format!("{PERSONAL_PREFIX}>");
    let is_business = |subject: &&str| *subject != personal;
    let subjects = ROUTES
        .iter()
        .flat_map(|route| route.trade.subjects())
        .copied();
    let business: Vec<&str> = subjects.filter(is_business).collect();
    text.push_str(&format!(
        "\n[[class]]\nname = \"business\"\nsubjects = {business:?}\nregions = \"any\"\n\
         \n[[class]]\nname = \"personal\"\nsubjects = [\"{personal}\"]\nregions = [\"{LISTENER}\"]\n"
    ));
    text
}

fn region_text(layout: &Layout, region: &RegionPlan) -> String {
    let name = region.name;
    let file = |name: String| quoted(&layout.certificates().join(name));
    let listen = region
        .listen
        .map(|it| format!("listen = \"{it}\"\n"))
        .unwrap_or_default();
    format!(
        "\n[region.{name}]\nnats = {{ url = \"{}\" }}\n{listen}admin = \"{}\"\nstate = {}\n\
         tls = {{ cert = {}, key = {}, ca = {} }}\n",
        region.nats_url,
        region.admin,
        quoted(&layout.region(name).join("state")),
        file(format!("{name}.pem")),
        file(format!("{name}.key")),
        file("ca.pem".to_owned()),
    )
}

/// A path as a TOML string: Rust's escapes of quotes and backslashes are TOML's too.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let layout = Layout("/tmp/demo".into());
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let region = |name, listen| RegionPlan {
            name,
            nats_url: "nats://127.0.0.1:4222".to_owned(),
            listen,
            admin: address(if name == DIALLER { 9464 } else { 9465 }),
        };
        let regions = [region(DIALLER, None), region(LISTENER, Some(address(7443)))];
        fleet_text(&layout, &regions, address(7000))
    }

    #[test]
    fn the_fleet_file_is_accepted_and_its_one_warning_is_the_residency_that_the_demo_shows() {
        let loaded = causeway_config::parse(&text(), Path::new("/tmp/demo")).unwrap();
        let warnings: Vec<_> = loaded.warnings.iter().map(|it| it.text.as_str()).collect();
        assert!(
            matches!(warnings[..], [one] if one.contains("pii.>")),
            "{warnings:?}"
        );
        let names: Vec<_> = loaded
            .plan
            .routes()
            .iter()
            .map(|it| it.name.to_string())
            .collect();
        assert_eq!(names, ROUTES.map(|route| route.name));
    }

    #[test]
    fn the_fleet_file_says_what_the_demo_promises() {
        let text = text();
        for line in [
            "regions = [\"eu\", \"us\"]\ndial = \"127.0.0.1:7000\"",
            "[region.eu]\nnats = { url = \"nats://127.0.0.1:4222\" }\nlisten = \"127.0.0.1:7443\"",
            "ca = \"/tmp/demo/certs/ca.pem\"",
            "subjects = [\"sensor.>\", \"delivery.>\", \"pii.>\"]",
            "create = { duplicate_window = \"100ms\" }",
            "subjects = [\"pii.>\"]\nregions = [\"eu\"]",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("\"page.>\", \"sensor.>\", \"delivery.>\", \"pii.>\"]"));
    }
}
