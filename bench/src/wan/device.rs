//! The ends of the link: a TUN device in each host's namespace.

use anyhow::{Context as _, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::netns::{Namespace, ip};

/// What the devices of our hosts are called.
pub(crate) const DEVICE: &str = "wan0";
/// Packets that the kernel holds for us while the thread is not scheduled: a tenth of a second at 1 Gbit/s. None is
/// lost there unseen, see `Emulator::kernel_drops`.
const DEVICE_QUEUE_PACKETS: u32 = 10_000;

/// A TUN device in a namespace.
pub(super) fn device(host: &Namespace, address: &str, end: usize) -> Result<SyncDevice> {
    // It is born here, under a name that no other run uses, and moved.
    let born = format!("cw{}-{end}", std::process::id());
    let device = DeviceBuilder::new()
        .name(&born)
        .tx_queue_len(DEVICE_QUEUE_PACKETS)
        .enable(false)
        .build_sync()
        .context("open a TUN device: /dev/net/tun and CAP_NET_ADMIN are needed")?;
    device.set_nonblocking(true)?;
    ip(&[
        "link",
        "set",
        "dev",
        &born,
        "netns",
        host.name(),
        "name",
        DEVICE,
    ])?;
    host.ip(&["addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
    host.ip(&["link", "set", "dev", DEVICE, "mtu", "1500", "up"])?;
    Ok(device)
}
