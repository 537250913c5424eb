//! `causeway check --region`: what a region's sidecar would find on this host.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use causeway_config::plan::{Plan, RegionPlan};
use jiff::Timestamp;
use rustix::fs::{Access, access};

use crate::app::{load_identity, nats_options};
use crate::link::Identity;

/// As the alert of `deploy/alerts.yml`.
const ENDS_SOON_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What is there, to be read by a person, and what is wrong with it: lines that begin with `error` or `warning`.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) facts: Vec<String>,
    pub(super) findings: Vec<String>,
}

/// Looks at everything that the sidecar reads or takes when it starts. Changes nothing, and connects to nobody.
pub(super) fn look(plan: &Plan, own: &RegionPlan) -> Host {
    let mut host = Host::default();
    let place = |key: &str| format!("region.{}.{key}", own.id);
    match load_identity(plan, own) {
        Ok(identity) => host.judge_identity(&identity, &place("tls")),
        Err(why) => host.error(&place("tls"), &why),
    }
    for why in nats_options(own, "check").unusable_files() {
        host.error(&place("nats"), &why);
    }
    if let Some(creds) = &own.nats.creds {
        host.fact("credentials", &creds.as_path().display());
    }
    match may_write(&own.state) {
        Ok(()) => host.fact("state", &own.state.display()),
        Err(why) => host.error(&place("state"), &why),
    }
    if let Some(listen) = own.listen {
        let taken = UdpSocket::bind((listen.ip(), 0)).map(drop);
        host.judge_address("listen", listen, taken, &place("listen"));
    }
    let taken = TcpListener::bind((own.admin.ip(), 0)).map(drop);
    host.judge_address("admin", own.admin, taken, &place("admin"));
    host
}

impl Host {
    fn fact(&mut self, what: &str, is: &dyn std::fmt::Display) {
        self.facts.push(format!("  {what:<12} {is}"));
    }

    fn error(&mut self, place: &str, why: &dyn std::fmt::Display) {
        self.findings.push(format!("error: {place}: {why}"));
    }

    fn judge_identity(&mut self, identity: &Identity, place: &str) {
        if let Err(why) = identity.accepted() {
            self.error(place, &why);
        }
        let now = Timestamp::now().as_second();
        for (which, path, ends_at) in identity.certificates() {
            let what = if which == "ca" {
                "authority"
            } else {
                "certificate"
            };
            let path = path.display();
            let Some(end) = ends_at.and_then(|at| Timestamp::from_second(at).ok()) else {
                self.fact(what, &path);
                continue;
            };
            let days = (end.as_second() - now).div_euclid(DAY_SECONDS);
            let date = end.strftime("%Y-%m-%d");
            self.fact(what, &format!("{path}, until {date}"));
            let ends = match days {
                ..0 => "has ended".to_owned(),
                0..ENDS_SOON_DAYS => format!("ends in {days} days"),
                _ => continue,
            };
            let text = format!("warning: {place}: {path} {ends}, on {date}");
            self.findings.push(text);
        }
    }

    /// A port may be the running sidecar's own, so only the address is tried.
    fn judge_address(
        &mut self,
        what: &str,
        address: SocketAddr,
        taken: io::Result<()>,
        place: &str,
    ) {
        match taken {
            Ok(()) => self.fact(what, &address),
            Err(why) => self.error(
                place,
                &format!("{} is no address of this host: {why}", address.ip()),
            ),
        }
    }
}

/// Whether files can be made in a directory, or the directory itself where it is missing.
fn may_write(directory: &Path) -> Result<(), String> {
    let there = directory.ancestors().find(|above| above.exists());
    // Above the first name of a relative path is nothing, which is where we are.
    let there = there.map_or_else(|| PathBuf::from("."), Path::to_owned);
    if !there.is_dir() {
        return Err(format!("{} is no directory", there.display()));
    }
    access(&there, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|why| format!("{}: {}", there.display(), io::Error::from(why)))
}
