//! Certificates that are renewed while sidecars run.

use std::fs;
use std::path::Path;

use causeway::link::DialError;
use tokio::time::timeout;

use crate::{DEADLINE, authority, connect, dial, dialer, end, identity, listen, ping};

/// Puts the files of one authority in the place of another's.
fn replace(new: &Path, old: &Path) {
    for file in fs::read_dir(new).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), old.join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_old_ones_stay() {
    let pki = authority("acme", &["us", "eu"]);
    let (us, eu) = (
        identity("acme", "us", pki.path()),
        identity("acme", "eu", pki.path()),
    );
    let mut listener = listen(us.clone());
    let mut caller = dialer(eu.clone(), &listener);
    let (mut before, keeps) = connect(&mut listener, &mut caller).await;

    let stale = tempfile::tempdir().unwrap();
    replace(pki.path(), stale.path());
    replace(authority("acme", &["us", "eu"]).path(), pki.path());
    // Nobody has read them yet, so nothing has changed.
    let unread = connect(&mut listener, &mut caller).await;
    assert!(us.renew().unwrap());
    assert!(!us.renew().unwrap(), "they say what they said");
    // The other end still shows a certificate of the authority that is gone.
    let stranger = dial(&mut caller).await;
    assert!(matches!(stranger, Err(DialError::Connection(_))));
    assert!(eu.renew().unwrap());
    let after = connect(&mut listener, &mut caller).await;
    // Who trusts the new authority and shows a certificate of the old one is refused by us.
    fs::copy(pki.path().join("ca.pem"), stale.path().join("ca.pem")).unwrap();
    let (old, counting) = (identity("acme", "eu", stale.path()), listen(us.clone()));
    if let Ok(session) = dial(&mut dialer(old, &counting)).await {
        end(&session).await; // in TLS 1.3 the caller is through before we have judged it
    }
    timeout(DEADLINE, async {
        while !counting.refusals.snapshot().contains_key("handshake") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    keeps.control.send(ping()).await.unwrap();
    let heard = timeout(DEADLINE, before.control_rx.recv()).await.unwrap();
    assert_eq!(heard, Some(ping()), "what stood before stands");
    drop((unread, after));
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing_and_are_named() {
    let pki = authority("acme", &["us", "eu"]);
    let us = identity("acme", "us", pki.path());
    let mut listener = listen(us.clone());
    let file = |name: &str| pki.path().join(name);
    let whole = fs::read_to_string(file("us.key")).unwrap();
    let half = whole[..whole.len() / 2].to_owned();
    let other = fs::read_to_string(file("eu.key")).unwrap();
    for (key, names) in [(half, "private key"), (other, "key of the certificate")] {
        fs::write(file("us.key"), key).unwrap();
        let why = us.renew().unwrap_err().to_string();
        assert!(why.contains("us.key") && why.contains(names), "{why}");
        assert_eq!(us.problem(), Some(why));
        let mut eu = dialer(identity("acme", "eu", pki.path()), &listener);
        connect(&mut listener, &mut eu).await;
    }
    fs::write(file("us.key"), whole).unwrap();
    let ours = fs::read_to_string(file("us.pem")).unwrap();
    fs::copy(file("eu.pem"), file("us.pem")).unwrap();
    let why = us.renew().unwrap_err().to_string();
    assert!(why.contains("certificate is for eu"), "{why}");
    let key = rcgen::KeyPair::from_pem(&fs::read_to_string(file("us.key")).unwrap()).unwrap();
    let mut old = rcgen::CertificateParams::default();
    let name = "spiffe://acme/region/us".try_into().unwrap();
    old.subject_alt_names = vec![rcgen::SanType::URI(name)];
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    fs::write(file("us.pem"), old.self_signed(&key).unwrap().pem()).unwrap();
    let why = us.renew().unwrap_err().to_string();
    assert!(why.contains("us.pem: the certificate has ended"), "{why}");
    fs::write(file("us.pem"), ours).unwrap();
    assert!(!us.renew().unwrap());
    assert_eq!(us.problem(), None);
}
