//! One region's sidecar, as a child process: the same binary, `causeway run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep, timeout};

use super::process::Process;
use super::status;

const READY_WITHIN: Duration = Duration::from_secs(30);
const DRAINED_WITHIN: Duration = Duration::from_secs(20);
const ASK_EVERY: Duration = Duration::from_millis(20);
const LOG_LINES: usize = 15;

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct SidecarOptions {
    pub executable: PathBuf,
    pub fleet_file: PathBuf,
    pub region: &'static str,
    pub admin: SocketAddr,
    pub log: PathBuf,
}

/// A running sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    options: SidecarOptions,
    process: Process,
}

impl Sidecar {
    pub(crate) fn start(options: SidecarOptions) -> Result<Self> {
        let process = launch(&options)?;
        Ok(Self { options, process })
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !status::is_ready(self.options.admin).await {
            self.expect_running()?;
            if Instant::now() > deadline {
                let log = self.process.log_tail(LOG_LINES);
                bail!(
                    "the {} sidecar is not ready after {READY_WITHIN:?}:\n{log}",
                    self.options.region
                );
            }
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// An error if it has ended by itself.
    pub(crate) fn expect_running(&mut self) -> Result<()> {
        if let Some(ended) = self.process.exit_status()? {
            let log = self.process.log_tail(LOG_LINES);
            bail!(
                "the {} sidecar ended by itself ({ended}):\n{log}",
                self.options.region
            );
        }
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await.context("kill a sidecar")
    }

    /// Starts a killed one again.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.options)?;
        Ok(())
    }

    /// Asks it to drain and end; tells whether it did, in time and with exit status 0.
    pub(crate) async fn stop(&mut self) -> Result<bool> {
        self.process.terminate().context("stop a sidecar")?;
        match timeout(DRAINED_WITHIN, self.process.wait()).await {
            Ok(status) => Ok(status?.success()),
            Err(_) => {
                self.process.kill().await?;
                Ok(false)
            }
        }
    }
}

fn launch(options: &SidecarOptions) -> Result<Process> {
    let mut command = Command::new(&options.executable);
    command
        .arg("run")
        .arg("--config")
        .arg(&options.fleet_file)
        .args(["--region", options.region]);
    let name = format!("{} sidecar", options.region);
    Process::spawn(&name, command, &options.log).with_context(|| format!("start the {name}"))
}
