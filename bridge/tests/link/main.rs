//! The QUIC link between real sockets: who is let in, what is carried, what ends a connection.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod answers;
mod carried;
mod floods;
mod lanes;
mod rates;
mod renewal;
mod stopped;
mod strangers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use causeway::certs::generate;
use causeway::link::{
    DeclaredRate, DialError, Dialer, Identity, Listener, PathHints, Refusals, Session, TlsFiles,
};
use causeway_proto::frame::{Frame, Ping};
use causeway_proto::id::{FleetName, RegionId};
use tokio::sync::mpsc;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// A fleet's certificates in a directory of their own.
fn authority(fleet: &str, regions: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let regions: Vec<_> = regions.iter().map(|name| region(name)).collect();
    generate(&FleetName::new(fleet).unwrap(), &regions, directory.path()).unwrap();
    directory
}

fn identity(fleet: &str, name: &str, directory: &Path) -> Identity {
    let files = TlsFiles {
        cert: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
        ca: directory.join("ca.pem"),
    };
    Identity::load(&FleetName::new(fleet).unwrap(), &region(name), &files).unwrap()
}

/// A path whose link has that rate, in bits a second.
fn rated(rate: Option<u64>) -> PathHints {
    PathHints {
        rate: DeclaredRate::new(rate),
        ..PathHints::default()
    }
}

/// A listener of region us that eu may dial.
struct Us {
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    refusals: Refusals,
}

fn listen(identity: Identity) -> Us {
    listen_over(identity, PathHints::default())
}

fn listen_over(identity: Identity, hints: PathHints) -> Us {
    let (sender, sessions) = mpsc::channel(4);
    let peers = BTreeMap::from([(region("eu"), (hints, sender))]);
    let refusals = Refusals::default();
    let any = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind(any, identity, peers, refusals.clone()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.run());
    Us {
        address,
        sessions,
        refusals,
    }
}

fn dialer(identity: Identity, us: &Us) -> Dialer {
    dialer_over(identity, us, PathHints::default())
}

fn dialer_over(identity: Identity, us: &Us, hints: PathHints) -> Dialer {
    Dialer::new(identity, region("us"), us.address.to_string(), hints)
}

fn ping() -> Bytes {
    Frame::Ping(Ping { nonce: 1 }).encode().unwrap()
}

/// Dials until somebody answers: on a busy machine that can take longer than one attempt waits.
async fn dial(dialer: &mut Dialer) -> Result<Session, DialError> {
    let answered = async {
        loop {
            match dialer.dial().await {
                Err(DialError::Timeout(_)) => {}
                outcome => return outcome,
            }
        }
    };
    timeout(DEADLINE, answered).await.unwrap()
}

/// Both ends of a connection. The listener sees it with the dialler's first frame.
async fn connect(us: &mut Us, dialer: &mut Dialer) -> (Session, Session) {
    let eu = dial(dialer).await.unwrap();
    eu.control.send(ping()).await.unwrap();
    let mut other = timeout(DEADLINE, us.sessions.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        timeout(DEADLINE, other.control_rx.recv()).await.unwrap(),
        Some(ping())
    );
    (other, eu)
}

/// Sends batches on streams of their own, as sessions do.
struct Batches(quinn::Connection);

impl Batches {
    fn of(session: &Session) -> Self {
        Self(session.connection().clone())
    }

    async fn send(&self, head: Bytes, body: Bytes) -> Result<(), quinn::WriteError> {
        let mut stream = self.0.open_uni().await?;
        stream.write_all_chunks(&mut [head, body]).await?;
        let _ = stream.finish(); // the stream is ours, and was not finished before
        Ok(())
    }
}

/// Waits until a connection has ended, and says in whose words.
async fn end(session: &Session) -> String {
    timeout(DEADLINE, session.connection().closed())
        .await
        .unwrap();
    session.end().unwrap()
}
