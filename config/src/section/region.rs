//! `[region.NAME]`

use std::net::SocketAddr;
use std::path::PathBuf;

use causeway_proto::id::RegionId;

use crate::address::{InvalidAddress, NatsUrl};
use crate::error::Place;
use crate::plan::{NatsPlan, NatsTls, PeerTls, RegionPlan};
use crate::read::{Placed, Table, Value};
use crate::schedule::Schedule;
use crate::secret::SecretPath;
use crate::unit::Rate;

pub(crate) struct RegionDraft {
    pub(crate) place: Place,
    pub(crate) id: RegionId,
    pub(crate) listen: Option<Placed<SocketAddr>>,
    /// Whether the key is there at all, be it sound or not.
    pub(crate) has_listen: bool,
    pub(crate) admin: Option<Placed<SocketAddr>>,
    pub(crate) state: Option<Placed<PathBuf>>,
    rate: Option<Rate>,
    schedule: Schedule,
    nats: Option<NatsPlan>,
    tls: Option<PeerTls>,
}

impl RegionDraft {
    /// Complete, where no fault was reported.
    pub(crate) fn into_plan(self) -> Option<RegionPlan> {
        Some(RegionPlan {
            id: self.id,
            nats: self.nats?,
            listen: self.listen.map(|listen| listen.value),
            admin: self.admin?.value,
            state: self.state?.value,
            rate: self.rate,
            schedule: self.schedule,
            tls: self.tls?,
        })
    }
}

pub(super) fn read((name, value): (Placed<String>, Value<'_>)) -> Option<RegionDraft> {
    let table = value.table();
    let id = match RegionId::new(&name) {
        Ok(id) => id,
        Err(why) => {
            let wanted = format!("a name of letters, digits, '-' and '_' ({why})");
            let report = table?.report();
            report.fault(&name.place, format!("{:?}", name.value), wanted);
            return None;
        }
    };
    let table = table?;
    let listen = table.optional("listen").and_then(|value| {
        let listen = value.parse(str::parse::<SocketAddr>)?;
        if listen.port() == 0 {
            value.fail_because("a peer must know the port")
        } else {
            Some(listen)
        }
    });
    Some(RegionDraft {
        place: table.place.clone(),
        id,
        listen,
        has_listen: table.optional("listen").is_some(),
        admin: table
            .required("admin")
            .and_then(|value| value.parse(str::parse::<SocketAddr>)),
        state: table.required("state").and_then(|value| value.path()),
        rate: super::rate::read(&table),
        schedule: super::schedule::read(&table).schedule,
        nats: table
            .required("nats")
            .and_then(|value| read_nats(&value.table()?)),
        tls: table
            .required("tls")
            .and_then(|value| read_tls(&value.table()?)),
    })
}

fn read_tls(table: &Table<'_>) -> Option<PeerTls> {
    let path = |name| table.required(name).and_then(|value| value.path());
    let (cert, key, ca) = (path("cert"), path("key"), path("ca"));
    Some(PeerTls {
        cert: cert?.value,
        key: SecretPath::new(key?.value),
        ca: ca?.value,
    })
}

fn read_nats(table: &Table<'_>) -> Option<NatsPlan> {
    let urls = table
        .required("url")
        .and_then(|value| value.parse(parse_urls));
    let creds = table.optional("creds").and_then(|value| value.path());
    let domain = table
        .optional("domain")
        .and_then(|value| value.parse(parse_domain));
    let tls = table
        .optional("tls")
        .and_then(|value| Some(read_nats_tls(&value.table()?)));
    if let (Some(urls), Some(creds)) = (&urls, &creds)
        && urls.iter().any(|url| url.auth.is_some())
    {
        let wanted = "either credentials or a user in the URL";
        table
            .report()
            .conflict(&creds.place, "a credentials file", wanted, &urls.place);
    }
    if let Some(urls) = &urls
        && tls.is_none()
        && let Some(url) = urls.iter().find(|url| url.auth.is_some() && !url.tls)
        && !url.server.is_loopback()
    {
        let text =
            format!("the password for {url} may cross the network in clear: use tls:// or creds");
        table.report().warn(&urls.place, text, None);
    }
    Some(NatsPlan {
        urls: urls?.value,
        creds: creds.map(|creds| SecretPath::new(creds.value)),
        domain: domain.map(|domain| domain.value),
        tls,
    })
}

fn read_nats_tls(table: &Table<'_>) -> NatsTls {
    let path = |name| table.optional(name).and_then(|value| value.path());
    let missing = |name: &str, other: &Place| {
        let wanted = "certificate and key together";
        table
            .report()
            .conflict(&table.place.child(name), "nothing", wanted, other);
    };
    let identity = match (path("cert"), path("key")) {
        (Some(cert), Some(key)) => Some((cert.value, SecretPath::new(key.value))),
        (Some(cert), None) if table.optional("key").is_none() => {
            missing("key", &cert.place);
            None
        }
        (None, Some(key)) if table.optional("cert").is_none() => {
            missing("cert", &key.place);
            None
        }
        _ => None,
    };
    let first = table.optional("first").and_then(|value| value.boolean());
    NatsTls {
        ca: path("ca").map(|ca| ca.value),
        identity,
        first: first.is_some_and(|first| *first),
    }
}

fn parse_urls(text: &str) -> Result<Vec<NatsUrl>, InvalidAddress> {
    text.split(',').map(|url| url.trim().parse()).collect()
}

/// A domain becomes one token of the API's subjects.
fn parse_domain(text: &str) -> Result<String, &'static str> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>');
    match text {
        "" => Err("is empty"),
        text if text.contains(is_bad) => Err("dots, wildcards and white space are not allowed"),
        text => Ok(text.to_owned()),
    }
}
