//! What `causeway check --region` says of the host that it runs on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use causeway::certs::generate;
use causeway_proto::id::{FleetName, RegionId};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use tempfile::TempDir;

const FLEET: &str = r#"
[fleet]
name = "shop"
[region.us]
nats = { url = "nats://127.0.0.1:4222" }
listen = "127.0.0.1:7443"
admin = "127.0.0.1:9464"
state = "state/us"
tls = { cert = "pki/us.pem", key = "pki/us.key", ca = "pki/ca.pem" }
[region.eu]
nats = { url = "nats://127.0.0.1:4222" }
admin = "127.0.0.1:9464"
state = "state/eu"
tls = { cert = "pki/eu.pem", key = "pki/eu.key", ca = "pki/ca.pem" }
[[link]]
regions = ["us", "eu"]
dial = "127.0.0.1:7443"
[[class]]
name = "all"
subjects = [">"]
regions = "any"
[[route]]
name = "orders"
from = "us"
to = ["eu"]
stream = "ORDERS"
"#;

/// A directory with a fleet file and what `causeway certs` makes.
fn fleet(edit: impl Fn(String) -> String) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("fleet.toml"), edit(FLEET.to_owned())).unwrap();
    certificates(&directory.path().join("pki"));
    directory
}

fn certificates(out: &Path) {
    let names = ["us", "eu"].map(|name| RegionId::new(name).unwrap());
    generate(&FleetName::new("shop").unwrap(), &names, out).unwrap();
}

fn check(directory: &Path, region: &str) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["check", "--region", region, "--config"])
        .arg(directory.join("fleet.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

/// A certificate of region us by the fleet's own authority, made as told.
fn replace_certificate(pki: &Path, make: impl Fn(&mut CertificateParams)) {
    let read = |name: &str| fs::read_to_string(pki.join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    let name = "spiffe://shop/region/us".try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(name));
    make(&mut params);
    let key = KeyPair::from_pem(&read("us.key")).unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    fs::write(pki.join("us.pem"), cert.pem()).unwrap();
}

#[test]
fn a_host_that_has_all_is_shown_and_left_as_it_was() {
    let directory = fleet(|text| text);
    let (output, text) = check(directory.path(), "us");
    assert!(output.status.success(), "{output:?}");
    for line in [
        "region us on this host:",
        "us.pem, until 20",
        "ca.pem, until 20",
        "state/us",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert!(
        text.ends_with("host looked at: 0 errors, 0 warnings\n"),
        "{text}"
    );
    assert!(!directory.path().join("state").exists());
    // Without the option nothing of the host is looked at.
    fs::remove_dir_all(directory.path().join("pki")).unwrap();
    let mut plain = Command::new(env!("CARGO_BIN_EXE_causeway"));
    plain.args(["check", "--config"]);
    let plain = plain.arg(directory.path().join("fleet.toml")).output();
    assert!(plain.unwrap().status.success());
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let directory = fleet(|text| {
        text.replacen("4222\" }", "4222\", creds = \"us.creds\" }", 1)
            .replacen("listen = \"127.0.0.1", "listen = \"192.0.2.1", 1)
    });
    let pki = directory.path().join("pki");
    // An authority of the same name with another key, as after a second `causeway certs` elsewhere.
    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    fs::copy(other.path().join("ca.pem"), pki.join("ca.pem")).unwrap();
    fs::write(directory.path().join("state"), "a file").unwrap();
    let (output, text) = check(directory.path(), "us");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let wrong = [
        (
            "error: region.us.tls: ",
            "ca.pem refuses it when it listens: ",
        ),
        ("error: region.us.nats: ", "us.creds: No such file"),
        ("error: region.us.state: ", "state is no directory"),
        (
            "error: region.us.listen: ",
            "192.0.2.1 is no address of this host",
        ),
    ];
    for (place, why) in wrong {
        let is_named = |line: &str| line.starts_with(place) && line.contains(why);
        assert!(text.lines().any(is_named), "no {place}{why} in {text}");
    }
    assert!(
        text.ends_with("host looked at: 4 errors, 0 warnings\n"),
        "{text}"
    );
}

#[test]
fn a_certificate_that_has_ended_or_serves_one_end_only_is_refused_and_one_that_ends_soon_is_told() {
    let directory = fleet(|text| text);
    let pki = directory.path().join("pki");
    let said = |make: &dyn Fn(&mut CertificateParams)| {
        replace_certificate(&pki, make);
        let (output, text) = check(directory.path(), "us");
        (output.status.success(), text)
    };
    let (is_fine, text) = said(&|it| it.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert!(!is_fine && text.contains("expired"), "{text}");
    assert!(text.contains("us.pem has ended, on 20"), "{text}");
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let (is_fine, text) = said(&move |it| it.extended_key_usages = vec![server.clone()]);
    assert!(
        !is_fine && text.contains("refuses it when it dials: "),
        "{text}"
    );
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(5 * 86_400 + 3_600);
    let (is_fine, text) = said(&move |it| it.not_after = soon.into());
    assert!(is_fine, "{text}");
    assert!(text.contains("warning: region.us.tls: "), "{text}");
    assert!(text.contains("us.pem ends in 5 days, on 20"), "{text}");
}

#[test]
fn a_region_that_the_file_does_not_have_is_an_error() {
    let directory = fleet(|text| text);
    let (output, text) = check(directory.path(), "mars");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(text.is_empty(), "{text}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("mars"), "{told}");
}
