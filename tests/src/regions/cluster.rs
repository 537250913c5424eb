//! A region's servers: one, or a cluster of them that is broken member by member.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway::demo::provision::{nats_server, nats_server_version};
use causeway::demo::server::{Server, ServerOptions, free_port};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::{DEADLINE, TARGET, TwoRegions, jetstream_of};

/// Nobody answers a question while there is no leader.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Starts a region's servers: the first one, and those that make a cluster with it.
pub(super) async fn start_servers(
    directory: &Path,
    region: &str,
    version: Option<&str>,
    config: &[String],
    count: usize,
) -> Result<(Server, Vec<Server>)> {
    let version = version.map(str::to_owned);
    let provide = move || version.map_or_else(nats_server, |version| nats_server_version(&version));
    let binary = spawn_blocking(provide).await??;
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect::<Result<_, _>>()?;
    let mut servers = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let name = match at {
            0 => region.to_owned(),
            _ => format!("{region}-{at}"),
        };
        let directory = directory.join(&name);
        std::fs::create_dir(&directory)?;
        let mut config = config.to_vec();
        if count > 1 {
            config.push(cluster(region, *port, &ports));
        }
        let options = ServerOptions {
            name,
            binary: binary.clone(),
            directory,
            config,
        };
        servers.push(Server::start(options).await?);
    }
    let peers = servers.split_off(1);
    Ok((servers.remove(0), peers))
}

fn cluster(region: &str, port: u16, ports: &[u16]) -> String {
    let routes: Vec<String> = ports
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    format!("cluster {{ name: {region}, listen: \"127.0.0.1:{port}\", routes: {routes:?} }}")
}

impl TwoRegions {
    /// Where the servers of a region are reached.
    pub(super) fn urls(&self, region: &str) -> String {
        let urls: Vec<String> = self.servers(region).map(Server::url).collect();
        urls.join(",")
    }

    fn servers(&self, region: &str) -> impl Iterator<Item = &Server> {
        let (first, peers) = match region {
            "us" => (&self.us, &self.us_peers),
            _ => (&self.eu, &self.eu_peers),
        };
        std::iter::once(first).chain(peers)
    }

    /// A server of a region, by name.
    pub fn server(&mut self, name: &str) -> &mut Server {
        let ours = [&mut self.us, &mut self.eu].into_iter();
        let mut all = ours.chain(&mut self.us_peers).chain(&mut self.eu_peers);
        all.find(|server| server.name() == name)
            .expect("the cluster names only servers that the test has started")
    }

    /// A server of a region other than one of them.
    pub fn other_server(&self, region: &str, than: &str) -> &Server {
        self.servers(region)
            .find(|server| server.name() != than)
            .expect("a cluster has more than one server")
    }

    /// Waits until a stream of a region has a leader that a server sees, other than `than`, and names it. An
    /// election is announced to nobody whom we could listen to without being its account's system, so it is asked for.
    pub async fn await_leader(&self, asked: &Server, stream: &str, than: &str) -> Result<String> {
        let question = format!("STREAM.INFO.{stream}");
        let leads = |info: &Value| {
            let leader = info["cluster"]["leader"].as_str();
            leader.filter(|leader| *leader != than).map(str::to_owned)
        };
        self.await_answer(asked, question, leads).await
    }

    /// Waits until the target holds so many records.
    pub async fn await_stored(&self, asked: &Server, count: u64) -> Result<()> {
        let stored = |info: &Value| {
            let messages = info["state"]["messages"].as_u64()?;
            (messages >= count).then_some(())
        };
        let question = format!("STREAM.INFO.{TARGET}");
        self.await_answer(asked, question, stored).await
    }

    /// Waits until all copies of a stream are current.
    pub async fn await_copies(&self, asked: &Server, stream: &str) -> Result<()> {
        let current = |info: &Value| {
            let copies = info["cluster"]["replicas"].as_array()?;
            let all = info["cluster"]["leader"].is_string()
                && copies.iter().all(|copy| copy["current"] == true);
            all.then_some(())
        };
        let question = format!("STREAM.INFO.{stream}");
        self.await_answer(asked, question, current).await
    }

    /// Waits until the servers of a region take questions about streams.
    pub(super) async fn await_cluster(&self, region: &str) -> Result<()> {
        let asked = self
            .servers(region)
            .next()
            .context("a region has a server")?;
        let names = |answer: &Value| answer.get("error").is_none().then_some(());
        self.await_answer(asked, "STREAM.NAMES".into(), names).await
    }

    /// Has another server lead a stream.
    pub async fn step_down(&self, region: &str, stream: &str) -> Result<()> {
        let asked = self
            .servers(region)
            .next()
            .context("a region has a server")?;
        let question = format!("STREAM.LEADER.STEPDOWN.{stream}");
        let done = |answer: &Value| (answer["success"] == true).then_some(());
        self.await_answer(asked, question, done).await
    }

    async fn await_answer<T>(
        &self,
        asked: &Server,
        question: String,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        let jetstream = jetstream_of(asked).await?;
        let deadline = Instant::now() + DEADLINE;
        let nothing = json!({});
        loop {
            let asking = jetstream.request::<_, _, Value>(question.clone(), &nothing);
            let answer = timeout(ASK_AGAIN, asking).await;
            if let Ok(Ok(answer)) = &answer
                && let Some(found) = wanted(answer)
            {
                return Ok(found);
            }
            let words = || format!("{question}: {answer:?}\n{}", self.logs());
            ensure!(Instant::now() < deadline, "{}", words());
            sleep(Duration::from_millis(20)).await;
        }
    }
}
