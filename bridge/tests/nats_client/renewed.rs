//! A whole sidecar whose credentials are renewed while it runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use causeway::certs::generate;
use causeway::demo::process::Process;
use causeway::demo::server::free_port;
use causeway_proto::id::{FleetName, RegionId};
use nkeys::KeyPair;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::login::Authority;
use super::server::Server;
use super::{run, within};

fn write_fleet(dir: &Path, nats: &str, admin: u16) {
    let region = |name: &str, more: &str| {
        format!(
            "[region.{name}]\nnats = {{ url = \"{nats}\", creds = \"user.creds\" }}\n\
             admin = \"127.0.0.1:{admin}\"\nstate = \"state-{name}\"\n{more}\
             tls = {{ cert = \"pki/{name}.pem\", key = \"pki/{name}.key\", ca = \"pki/ca.pem\" }}\n"
        )
    };
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let fleet = format!(
        "[fleet]\nname = \"shop\"\n{}{}\
         [[link]]\nregions = [\"us\", \"eu\"]\ndial = \"{listen}\"\n\
         [[class]]\nname = \"all\"\nsubjects = [\">\"]\nregions = \"any\"\n\
         [[route]]\nname = \"orders\"\nfrom = \"us\"\nto = [\"eu\"]\nstream = \"ORDERS\"\n\
         subjects = [\"orders.>\"]\n",
        region("us", &format!("listen = \"{listen}\"\n")),
        region("eu", ""),
    );
    std::fs::write(dir.join("fleet.toml"), fleet).unwrap();
    let names = ["us", "eu"].map(|name| RegionId::new(name).unwrap());
    generate(&FleetName::new("shop").unwrap(), &names, &dir.join("pki")).unwrap();
}

async fn metrics(admin: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", admin)).await?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Waits until both connections of a sidecar from which a route leaves are up, or until both are down. Its address says no
/// more than how things stand, so it is asked again.
async fn await_nats(admin: u16, is_up: bool) {
    let wanted = ["control", "source"].map(|name| {
        format!(
            "causeway_nats_up{{connection=\"{name}\"}} {}",
            u8::from(is_up)
        )
    });
    within(async {
        loop {
            let told = metrics(admin).await.unwrap_or_default();
            if wanted.iter().all(|line| told.contains(line.as_str())) {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[test]
fn every_connection_takes_credentials_that_were_renewed_in_place() {
    run(async {
        let authority = Authority::new();
        let [old, new] = [(); 2].map(|()| KeyPair::new_user());
        let mut server = Server::with(&authority.config(&[]), |_| {}).await;
        let directory = tempfile::tempdir().unwrap();
        let creds = directory.path().join("user.creds");
        std::fs::write(&creds, authority.creds(&old)).unwrap();
        let admin = free_port().unwrap();
        write_fleet(directory.path(), &server.url(), admin);
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        let fleet = directory.path().join("fleet.toml");
        command
            .args(["run", "--region", "us", "--config"])
            .arg(fleet);
        let log = directory.path().join("us.log");
        let _sidecar = Process::spawn("us", command, &log).unwrap();
        await_nats(admin, true).await;

        server.kill().await;
        await_nats(admin, false).await;
        std::fs::write(&creds, authority.creds(&new)).unwrap();
        server.configure(&authority.config(&[&old]));
        server.restart().await;
        await_nats(admin, true).await;
    });
}
