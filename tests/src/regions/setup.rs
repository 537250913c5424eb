//! What a test may change, and what is made before the sidecars start: servers, fleet file, streams.

use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::stream;

use super::{SOURCE, TARGET, TwoRegions, jetstream_of};

/// A second route, for [`Setup::route`]: records of eu's stream `BACK` for us.
pub const BACK: &str = r#"
[[route]]
name = "back"
from = "eu"
to = ["us"]
stream = "BACK"
subjects = ["back.>"]
target = "BACK_COPY"
create = { duplicate_window = "100ms" }
[[class]]
name = "back"
subjects = ["back.>"]
regions = "any"
"#;

/// What a test wants to be different.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Further lines of the route.
    pub route: String,
    /// Release of the source's server; the pinned one where none is named.
    pub source_version: Option<&'static str>,
    /// Release of the target's server; the pinned one where none is named.
    pub target_version: Option<&'static str>,
    /// Whether the source stream takes `Nats-Rollup`.
    pub source_rolls_up: bool,
    /// One-way delay and loss in packets per million of the WAN.
    pub wan: (Duration, u32),
    /// Region in the certificate of the eu sidecar.
    pub eu_certificate: &'static str,
    /// How the target stream is created by the test; none: the route creates it.
    pub target: Option<stream::Config>,
    /// Further lines of the configuration of the source's server.
    pub source_server: Vec<String>,
    /// Further lines of the configuration of the target's server.
    pub target_server: Vec<String>,
    /// Who dials whom.
    pub dials: Dials,
    /// `user:password@` of the sidecars at their servers.
    pub login: &'static str,
    /// Servers of each region's cluster, and copies of each stream; one is no cluster.
    pub servers: usize,
}

/// Who dials whom. What does not get through is dropped without a word, as by a firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dials {
    /// eu dials us, over the WAN that can be cut.
    Forth,
    /// us dials eu too, past that WAN.
    Both,
    /// Both dial, and only us gets through.
    BackAlone,
    /// Both dial, and only eu gets through.
    ForthAlone,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            route: String::new(),
            source_version: None,
            target_version: None,
            source_rolls_up: false,
            wan: (Duration::from_millis(1), 0),
            eu_certificate: "eu",
            target: None,
            source_server: Vec::new(),
            target_server: Vec::new(),
            dials: Dials::Forth,
            login: "",
            servers: 1,
        }
    }
}

impl TwoRegions {
    pub(super) fn write_fleet(&self, setup: &Setup) -> Result<()> {
        let listen = self.listen;
        let eu_listen = self.eu_listen;
        let wall = self.wall.local_addr()?;
        let past_wan = format!("127.0.0.1:{eu_listen}");
        let dial_back = match setup.dials {
            Dials::Forth => String::new(),
            Dials::ForthAlone => format!("dial_back = \"{wall}\""),
            Dials::Both | Dials::BackAlone => format!("dial_back = \"{past_wan}\""),
        };
        let dial = match setup.dials {
            Dials::BackAlone => wall,
            _ => self.relay.address(),
        };
        let create = match setup.target {
            Some(_) => "",
            None => &format!(
                "create = {{ duplicate_window = \"100ms\", replicas = {} }}",
                setup.servers
            ),
        };
        let [us_admin, eu_admin] = self.admin;
        let fleet = format!(
            r#"
[fleet]
name = "test"
[region.us]
nats = {{ url = "{us}" }}
listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{us_admin}"
state = "state-us"
tls = {{ cert = "pki/us.pem", key = "pki/us.key", ca = "pki/ca.pem" }}
[region.eu]
nats = {{ url = "{eu}" }}
listen = "127.0.0.1:{eu_listen}"
admin = "127.0.0.1:{eu_admin}"
state = "state-eu"
tls = {{ cert = "pki/{cert}.pem", key = "pki/{cert}.key", ca = "pki/ca.pem" }}
[[link]]
regions = ["us", "eu"]
dial = "{dial}"
{dial_back}
rate = "200 Mbit/s"
[[class]]
name = "open"
subjects = ["orders.>"]
regions = "any"
[[class]]
name = "personal"
subjects = ["pii.>"]
regions = ["us"]
[[route]]
name = "orders"
from = "us"
to = ["eu"]
stream = "{SOURCE}"
target = "{TARGET}"
subjects = ["orders.>", "pii.>"]
{create}
{route}
"#,
            us = self.urls("us").replace("//", &format!("//{}", setup.login)),
            eu = self.urls("eu").replace("//", &format!("//{}", setup.login)),
            cert = setup.eu_certificate,
            route = setup.route,
        );
        std::fs::write(self.fleet(), fleet)?;
        Ok(())
    }

    pub(super) fn make_certificates(&self) -> Result<()> {
        let pki = self.directory.path().join("pki");
        let regions = ["us", "eu"].map(causeway_proto::id::RegionId::new);
        let regions = regions.into_iter().collect::<Result<Vec<_>, _>>()?;
        let fleet = causeway_proto::id::FleetName::new("test")?;
        causeway::certs::generate(&fleet, &regions, &pki)?;
        Ok(())
    }

    pub(super) async fn create_streams(&self, setup: &Setup) -> Result<()> {
        let source = stream::Config {
            name: SOURCE.into(),
            subjects: vec!["orders.>".into(), "pii.>".into()],
            allow_rollup: setup.source_rolls_up,
            num_replicas: setup.servers,
            ..Default::default()
        };
        jetstream_of(&self.us).await?.create_stream(source).await?;
        if let Some(target) = &setup.target {
            jetstream_of(&self.eu)
                .await?
                .create_stream(target.clone())
                .await?;
        }
        Ok(())
    }
}
