//! Network namespaces: two hosts on this machine that see nothing but their own loopback and the link between them.
//!
//! Made with `ip` of iproute2, since that leaves them visible (`ip netns`) to a person who wants to look inside. A name
//! holds our process id, so what a killed run left behind is told from what another run is using, and removed.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PREFIX: &str = "causeway-bench";
const DIRECTORY: &str = "/run/netns";

/// A namespace of ours; dropping it removes it, and with it its end of the link.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, with its loopback up.
    pub(crate) fn create(host: &str) -> Result<Self> {
        let name = format!("{PREFIX}-{}-{host}", std::process::id());
        ip(&["netns", "add", &name]).context(
            "cannot make a network namespace: the emulated WAN needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN), \
             /dev/net/tun and `ip` of iproute2",
        )?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name for `ip netns exec`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], arguments].concat())
    }

    /// Moves the calling thread, and the processes that it starts from now on, inside.
    pub(crate) fn enter(name: &str) -> Result<()> {
        let file = File::open(Path::new(DIRECTORY).join(name)).context("open a namespace")?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .context("enter a namespace")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]); // what stays is removed by the next run
    }
}

/// Removes the namespaces of runs that have ended without removing them.
pub(crate) fn remove_stale() -> Result<()> {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else {
        return Ok(()); // nobody has made any yet
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner).exists()
        {
            ip(&["netns", "del", &name])?;
        }
    }
    Ok(())
}

/// Runs `ip` of iproute2.
pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("run `ip` of iproute2")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
