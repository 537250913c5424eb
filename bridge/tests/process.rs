//! What only whole processes can show: two of them on one state directory, signals, exit statuses.
//!
//! The test program starts itself again as the other process ([`other_process`]); which part that one
//! plays is said by an environment variable.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use causeway::checkpoint::{
    CheckpointKey, CheckpointStore, CheckpointWriter, SledStore, StoreError,
};
use causeway::session::Direction;
use causeway::shutdown;
use causeway_proto::id::{RegionId, RouteName, StreamName};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

const PART: &str = "CAUSEWAY_TEST_PART";
const STATE: &str = "CAUSEWAY_TEST_STATE";
/// What a file that may not grow is told with (signal(7)).
const SIGXFSZ: i32 = 25;
const PATIENCE: Duration = Duration::from_secs(30);

/// Not a test of its own: the other process's side of the tests below.
#[test]
fn other_process() {
    match std::env::var(PART).as_deref() {
        Ok("holds the store") => hold_the_store(),
        Ok("meets a full disk") => meet_a_full_disk(),
        Ok("drains for ever") => drain(Duration::from_secs(600), true),
        Ok("drains at once") => drain(Duration::from_secs(600), false),
        Ok("drains too long") => drain(Duration::from_millis(1), true),
        _ => {}
    }
}

fn hold_the_store() {
    let state = std::env::var(STATE).unwrap();
    let mut store = SledStore::open(Path::new(&state)).unwrap();
    store.put(&key(), b"flushed").unwrap();
    store.flush().unwrap();
    println!("\nready");
    std::thread::park_timeout(PATIENCE);
}

/// No file may grow any more, and then each may: an error of the file system's own, with room before and after.
fn meet_a_full_disk() {
    let state = std::env::var(STATE).unwrap();
    let limit_files = |bytes| {
        let limits = Rlimit {
            current: bytes,
            maximum: None,
        };
        setrlimit(Resource::Fsize, limits).unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Unheard, it ends the process.
        let _heard = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
        let writer = CheckpointWriter::start(Box::new(SledStore::open(Path::new(&state)).unwrap()));
        writer.put(key(), b"before".to_vec()).await;
        assert!(writer.sync().await);
        limit_files(Some(1));
        writer.put(key(), b"meanwhile".to_vec()).await;
        for len in 1.. {
            // Room that it has already may do for some.
            let other = key_of("other");
            writer.put(other, vec![7; len * 10_000]).await;
            if !writer.sync().await {
                break;
            }
        }
        assert!(*writer.failing().borrow());
        limit_files(None);
        // It tries by itself.
        let mut failing = writer.failing();
        failing.wait_for(|failing| !failing).await.unwrap();
    });
    let store = SledStore::open(Path::new(&state)).unwrap();
    let value = store.get(&key()).unwrap();
    assert_eq!(value.as_deref(), Some(&b"meanwhile"[..]));
    println!("\nready");
}

fn drain(grace: Duration, is_stuck: bool) {
    let mut told = shutdown::on_signals(grace).unwrap();
    println!("\nready");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        told.draining().await;
        println!("\ndraining");
        if is_stuck {
            told.ending().await;
            println!("\nending");
            std::process::exit(7);
        }
    });
    std::process::exit(0);
}

fn key() -> CheckpointKey {
    key_of("orders")
}

fn key_of(route: &str) -> CheckpointKey {
    let (route, peer) = (RouteName::new(route), RegionId::new("us"));
    let stream = StreamName::new("ORDERS").unwrap();
    CheckpointKey::new(Direction::In, &route.unwrap(), &peer.unwrap(), &stream)
}

/// The other process, with the lines that it says.
struct Other {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Other {
    fn start(part: &str, state: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "other_process", "--nocapture"])
            .env(PART, part)
            .env(STATE, state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let other = Self { child, lines };
        other.says("ready");
        other
    }

    fn says(&self, word: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            if line.unwrap_or_else(|_| panic!("the other process never said {word}")) == word {
                return;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_disk_that_was_full_is_written_again_without_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let other = Other::start("meets a full disk", state.path());
    assert!(other.end().success());
}

#[test]
fn a_second_process_is_refused_and_a_killed_one_leaves_what_it_flushed() {
    let state = tempfile::tempdir().unwrap();
    let other = Other::start("holds the store", state.path());
    let refused = SledStore::open(state.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Locked(..)), "{refused}");
    let text = refused.to_string();
    assert!(
        text.contains("another sidecar uses this state directory"),
        "{text}"
    );
    assert!(text.contains(&state.path().display().to_string()), "{text}");
    other.signal("KILL");
    drop(other);
    let store = SledStore::open(state.path()).unwrap();
    assert_eq!(store.get(&key()).unwrap().as_deref(), Some(&b"flushed"[..]));
    assert_eq!(store.set_aside(), None);
}

#[test]
fn one_signal_drains_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let other = Other::start("drains at once", Path::new(""));
        other.signal(signal);
        other.says("draining");
        assert_eq!(other.end().code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let other = Other::start("drains for ever", Path::new(""));
    other.signal("TERM");
    other.says("draining");
    other.signal("INT");
    assert_eq!(other.end().code(), Some(128 + 2));
}

#[test]
fn a_grace_period_that_is_over_is_told() {
    let other = Other::start("drains too long", Path::new(""));
    other.signal("TERM");
    other.says("draining");
    other.says("ending");
    assert_eq!(other.end().code(), Some(7));
}
