use std::path::Path;

use causeway_proto::id::FleetName;
use tempfile::TempDir;

use super::*;
use crate::certs::generate;
use crate::checkpoint::MemoryStore;
use crate::link::{Refusals, TlsFiles};
use crate::reload::ReloadControl;
use crate::status::Board;

/// Far more than a test that is well ever waits.
const DEADLINE: Duration = Duration::from_secs(30);

fn us() -> RegionId {
    RegionId::new("us").unwrap()
}

fn shop() -> FleetName {
    FleetName::new("shop").unwrap()
}

fn certificates(out: &Path) {
    generate(&shop(), &[us()], out).unwrap();
}

fn identity(pki: &Path) -> Identity {
    let [cert, key, ca] = ["us.pem", "us.key", "ca.pem"].map(|name| pki.join(name));
    Identity::load(&shop(), &us(), &TlsFiles { cert, key, ca }).unwrap()
}

/// A region without links, whose certificates are looked at so often.
fn reloader(identity: Identity, renew_every: Duration) -> Reloader {
    let text = "[fleet]\nname = \"shop\"\n[region.us]\nnats = { url = \"nats://127.0.0.1\" }\n\
                admin = \"127.0.0.1:0\"\nstate = \"us\"\n\
                tls = { cert = \"us.pem\", key = \"us.key\", ca = \"ca.pem\" }\n";
    let plan = causeway_config::parse(text, Path::new("")).unwrap().plan;
    let board = Board::new(us(), Refusals::default());
    let store = MemoryStore::default();
    let rates = Rates::new(&plan, &us(), &store, &board, Timestamp::now());
    let (_, asked) = ReloadControl::new();
    Reloader {
        path: PathBuf::from("fleet.toml"),
        here: us(),
        runs: Arc::new(plan),
        rates,
        identity,
        renew_every,
        renewing: None,
        controls: Vec::new(),
        asked,
        hangups: hangups().unwrap(),
        told: board.register_reloads(),
        store: CheckpointWriter::start(Box::new(store)),
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let looks = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(DEADLINE, looks).await.is_ok(), "never {what}");
}

#[tokio::test]
async fn certificates_are_read_again_by_themselves() {
    let (pki, renewed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    certificates(pki.path());
    certificates(renewed.path());
    let identity = identity(pki.path());
    let reloader = reloader(identity.clone(), Duration::from_millis(20));
    let (stop, stopping) = oneshot::channel();
    let task = tokio::spawn(reloader.run(stopping));
    // Renamed into place, as who renews them should: no file is ever read half-written.
    let replace = |name: &str| {
        let aside = pki.path().join("aside");
        std::fs::copy(renewed.path().join(name), &aside).unwrap();
        std::fs::rename(&aside, pki.path().join(name)).unwrap();
    };
    replace("ca.pem");
    // Half a pair is a problem, told until the other half is there.
    replace("us.pem");
    until("noticed", || identity.problem().is_some()).await;
    replace("us.key");
    until("mended", || identity.problem().is_none()).await;
    // Stopped, so that it is not this reading that finds them.
    stop.send(()).unwrap();
    task.await.unwrap();
    assert!(!identity.renew().unwrap(), "the new ones are in use");
    identity.accepted().unwrap();
}
