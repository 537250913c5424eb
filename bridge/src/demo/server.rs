//! One nats-server with JetStream on 127.0.0.1, for a region of the demo or of a test.
//!
//! It can be killed and brought back on the same port with the same store, paused and resumed. Dropping it ends
//! it; its directory is the caller's.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::process::Process;

/// A server that replays a large store after a crash needs some time on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Another process may take a free port between our look and the server's start.
const PORT_ATTEMPTS: usize = 5;
/// For each answer to a client: the library's own 5 s and 10 s can pass on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The server's name in NATS and in its log's file name.
    pub name: String,
    /// The binary; see [`provision`](super::provision).
    pub binary: PathBuf,
    /// An existing directory for the store, the configuration and the log.
    pub directory: PathBuf,
    /// Lines for the configuration file, after ours.
    pub config: Vec<String>,
}

/// Why a server is not there. Its log's last lines are in the text.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The system refuses a file, a port or the process.
    #[error("nats-server {name}")]
    System {
        /// The server's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("nats-server {name} ended while starting:\n{log}")]
    Ended {
        /// The server's name.
        name: String,
        /// The last lines of its log.
        log: String,
    },
    /// It runs and does not serve.
    #[error("nats-server {name} does not serve JetStream after {} s:\n{log}", READY_WITHIN.as_secs())]
    NotReady {
        /// The server's name.
        name: String,
        /// The last lines of its log.
        log: String,
    },
}

/// A nats-server with JetStream.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    port: u16,
    process: Process,
}

impl Server {
    /// Starts a server on a free port and waits until it serves JetStream.
    ///
    /// # Errors
    /// The options do not make a server; the error holds the end of its log.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let mut attempt = 1;
        loop {
            let port = free_port().map_err(|source| system(&options, source))?;
            match launch(&options, port).await {
                Ok(process) => {
                    return Ok(Self {
                        options,
                        port,
                        process,
                    });
                }
                Err(ServerError::Ended { log, .. })
                    if log.contains("address already in use") && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Its client port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// An ordinary client's JetStream, with time for a busy machine.
    ///
    /// # Errors
    /// The server does not take the connection.
    pub async fn jetstream(&self) -> Result<jetstream::Context, async_nats::ConnectError> {
        let options = async_nats::ConnectOptions::new()
            .connection_timeout(ANSWER_WITHIN)
            .request_timeout(Some(ANSWER_WITHIN));
        // The library's future is large.
        let client = Box::pin(options.connect(self.url())).await?;
        let builder = jetstream::ContextBuilder::new().timeout(ANSWER_WITHIN);
        Ok(builder.build(client))
    }

    /// The process behind it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// `kill -9`; [`restart`](Self::restart) brings it back.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill(&mut self) -> Result<(), ServerError> {
        self.process
            .kill()
            .await
            .map_err(|source| system(&self.options, source))
    }

    /// An orderly end (SIGTERM), waited for.
    ///
    /// # Errors
    /// It had already ended.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        let ended = match self.process.terminate() {
            Ok(()) => self.process.wait().await.map(drop),
            Err(error) => Err(error),
        };
        ended.map_err(|source| system(&self.options, source))
    }

    /// Enters lame duck mode (SIGUSR2): clients are asked to leave, then it ends by itself.
    ///
    /// # Errors
    /// It has already ended.
    pub fn lame_duck(&mut self) -> Result<(), ServerError> {
        self.process
            .signal(Signal::USR2)
            .map_err(|source| system(&self.options, source))
    }

    /// Starts it again on the same port with the same store, and waits until it serves. Kills it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.kill().await?;
        self.process = launch(&self.options, self.port).await?;
        Ok(())
    }

    /// Stops its clock (SIGSTOP).
    ///
    /// # Errors
    /// It has already ended.
    pub fn pause(&mut self) -> Result<(), ServerError> {
        self.process
            .pause()
            .map_err(|source| system(&self.options, source))
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// It has already ended.
    pub fn resume(&mut self) -> Result<(), ServerError> {
        self.process
            .resume()
            .map_err(|source| system(&self.options, source))
    }
}

fn system(options: &ServerOptions, source: io::Error) -> ServerError {
    ServerError::System {
        name: options.name.clone(),
        source,
    }
}

async fn launch(options: &ServerOptions, port: u16) -> Result<Process, ServerError> {
    let failed = |source| system(options, source);
    let config = options.directory.join(format!("{}.conf", options.name));
    std::fs::write(&config, config_text(options, port)).map_err(failed)?;
    let log = options.directory.join(format!("{}.log", options.name));
    let logged_before = std::fs::metadata(&log).map_or(0, |it| it.len());
    let mut command = Command::new(&options.binary);
    command.arg("--config").arg(&config);
    let mut process = Process::spawn(&options.name, command, &log).map_err(failed)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if serves_jetstream(port).await {
            return Ok(process);
        }
        if process.exit_status().map_err(failed)?.is_some() {
            let log = text_from(&log, logged_before);
            return Err(ServerError::Ended {
                name: options.name.clone(),
                log,
            });
        }
        if Instant::now() > deadline {
            let log = text_from(&log, logged_before);
            return Err(ServerError::NotReady {
                name: options.name.clone(),
                log,
            });
        }
        sleep(ASK_EVERY).await;
    }
}

fn config_text(options: &ServerOptions, port: u16) -> String {
    let store = options.directory.join("store");
    let mut text = format!(
        "server_name: {:?}\nlisten: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?} }}\n",
        options.name
    );
    for line in &options.config {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The server greets every connection with its INFO; before JetStream is up it does not listen.
async fn serves_jetstream(port: u16) -> bool {
    let greeting = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        io::Result::Ok(line)
    };
    match timeout(Duration::from_secs(1), greeting).await {
        Ok(Ok(line)) => line.starts_with("INFO ") && line.contains("\"jetstream\":true"),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The end of a log, from where this start began.
fn text_from(log: &Path, start: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let new = bytes.get(start as usize..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A free port of 127.0.0.1, both TCP and UDP, that the system will not hand out by itself.
///
/// Below the usual ephemeral range (from 32768): a client that keeps trying to reach a killed server on an
/// ephemeral port can be given that very port as its own, and so connects to itself.
///
/// # Errors
/// No port is free.
pub fn free_port() -> io::Result<u16> {
    const FIRST: u32 = 18_000;
    const COUNT: u32 = 14_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).expect("below 32,768");
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && std::net::UdpSocket::bind(address).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no free port on 127.0.0.1",
    ))
}
