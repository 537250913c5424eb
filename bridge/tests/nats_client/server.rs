//! A real nats-server on this machine.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::within;

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    dir: TempDir,
    port: u16,
}

impl Server {
    /// JetStream on, nothing else.
    pub(crate) async fn start() -> Self {
        Self::with("", |_| {}).await
    }

    /// With more lines of configuration; `prepare` may put files into the server's directory,
    /// which the configuration calls `@DIR@`: no key and no JWT can hold that by chance.
    pub(crate) async fn with(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let port = causeway::demo::server::free_port().unwrap();
        write_config(dir.path(), port, config);
        let child = spawn(dir.path()).await;
        Self { child, dir, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it is configured as from its next start on.
    pub(crate) fn configure(&self, config: &str) {
        write_config(self.dir(), self.port, config);
    }

    /// Ends the server as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again: same port, same store.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.dir.path()).await;
    }
}

fn write_config(dir: &Path, port: u16, config: &str) {
    let path = dir.display().to_string();
    let config = config.replace("@DIR@", &path);
    let text =
        format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{path}/js\" }}\n{config}\n");
    std::fs::write(dir.join("server.conf"), text).unwrap();
}

async fn spawn(dir: &Path) -> Child {
    let found = tokio::task::spawn_blocking(causeway::demo::provision::nats_server);
    let binary = found.await.unwrap().unwrap();
    let mut child = Command::new(&binary)
        .arg("-c")
        .arg(dir.join("server.conf"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().expect("piped above")).lines();
    let mut log = String::new();
    loop {
        let line = within(lines.next_line()).await.unwrap();
        let Some(line) = line else {
            panic!("nats-server ended:\n{log}")
        };
        if line.contains("Server is ready") {
            break;
        }
        log.push_str(&line);
        log.push('\n');
    }
    tokio::task::spawn_local(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child
}
