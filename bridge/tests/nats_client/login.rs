//! Credentials and TLS.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway::nats::{Auth, Client, ConnectErrorKind, TlsOptions};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};

use super::server::Server;
use super::{connected, options, reason, run};

async fn connects(url: &str, auth: Auth, tls: TlsOptions) {
    let mut options = options(url);
    (options.auth, options.tls) = (auth, tls);
    connected(&Client::start(options)).await;
}

async fn refused(url: &str, auth: Auth, tls: TlsOptions) -> ConnectErrorKind {
    let mut options = options(url);
    (options.auth, options.tls) = (auth, tls);
    let client = Client::start(options);
    reason(&client).await.kind
}

#[test]
fn password_token_and_nkey() {
    run(async {
        let pair = KeyPair::new_user();
        let users = format!(
            "authorization {{ users = [{{ nkey: {} }}] }}",
            pair.public_key()
        );
        let server = Server::with(&users, |_| {}).await;
        let tls = TlsOptions::default;
        connects(&server.url(), Auth::NkeySeed(pair.seed().unwrap()), tls()).await;
        let other = Auth::NkeySeed(KeyPair::new_user().seed().unwrap());
        assert_eq!(
            refused(&server.url(), other, tls()).await,
            ConnectErrorKind::Auth
        );

        let server = Server::with("authorization { user: u, password: \"p:@\" }", |_| {}).await;
        let auth = Auth::Password {
            user: "u".into(),
            password: "p:@".into(),
        };
        connects(&server.url(), auth, tls()).await;
        connects(
            &server.url().replace("//", "//u:p%3A%40@"),
            Auth::None,
            tls(),
        )
        .await;
        assert_eq!(
            refused(&server.url(), Auth::None, tls()).await,
            ConnectErrorKind::Auth
        );

        let server = Server::with("authorization { token: secret }", |_| {}).await;
        connects(&server.url(), Auth::Token("secret".into()), tls()).await;
    });
}

/// A JWT as the server reads them: claims of `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &str) -> String {
    let claims = format!(
        r#"{{"jti":"x","iat":1700000000,"iss":"{}","sub":"{}","name":"n","nats":{nats}}}"#,
        issuer.public_key(),
        subject.public_key()
    );
    let head = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(body.as_bytes()).unwrap());
    format!("{body}.{signature}")
}

/// An operator, an account and the system's: what signs users' JWTs, and a server that believes them.
pub(crate) struct Authority {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

const LIMITS: &str = r#""subs":-1,"data":-1,"payload":-1"#;

impl Authority {
    pub(crate) fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// Configuration of a server that lets this account's users in, but for those of the revoked keys.
    pub(crate) fn config(&self, revoked: &[&KeyPair]) -> String {
        let revoked: Vec<_> = revoked
            .iter()
            .map(|user| format!(r#""{}":4000000000"#, user.public_key()))
            .collect();
        let claims = |revoked: &str| {
            format!(
                r#"{{"limits":{{{LIMITS},"imports":-1,"exports":-1,"wildcards":true,"conn":-1,
                "leaf":-1}},"revocations":{{{revoked}}},"type":"account","version":2}}"#
            )
        };
        let operator = r#"{"type":"operator","version":2}"#;
        let operator = jwt(&self.operator, &self.operator, operator);
        let account = jwt(&self.operator, &self.account, &claims(&revoked.join(",")));
        let system = jwt(&self.operator, &self.system, &claims(""));
        format!(
            "operator: {operator}\nsystem_account: {1}\nresolver: MEMORY\n\
             resolver_preload: {{ {0}: {account}, {1}: {system} }}",
            self.account.public_key(),
            self.system.public_key()
        )
    }

    /// A `.creds` file of a user.
    pub(crate) fn creds(&self, user: &KeyPair) -> String {
        let claims = format!(r#"{{{LIMITS},"type":"user","version":2}}"#);
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(&self.account, user, &claims),
            user.seed().unwrap()
        )
    }
}

#[test]
fn creds_file() {
    run(async {
        let (authority, user) = (Authority::new(), KeyPair::new_user());
        let creds = authority.creds(&user);
        let write = |dir: &Path| std::fs::write(dir.join("user.creds"), &creds).unwrap();
        let server = Server::with(&authority.config(&[]), write).await;
        let file = |name: &str| Auth::CredsFile(server.dir().join(name));
        connects(&server.url(), file("user.creds"), TlsOptions::default()).await;
        let missing = refused(&server.url(), file("none"), TlsOptions::default()).await;
        assert_eq!(missing, ConnectErrorKind::Auth);
    });
}

/// A CA, a certificate for 127.0.0.1, and one for us, as PEM files in `dir`.
fn write_certificates(dir: &Path) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, TlsKey::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    for (name, host) in [("server", "127.0.0.1"), ("client", "client.example")] {
        let key = TlsKey::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &ca).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

const TLS: &str = "cert_file: \"@DIR@/server.pem\", key_file: \"@DIR@/server.key\"";

fn trusting(dir: &Path) -> TlsOptions {
    TlsOptions {
        ca_files: vec![dir.join("ca.pem")],
        ..TlsOptions::default()
    }
}

#[test]
fn tls_by_scheme_by_demand_and_first() {
    run(async {
        let server = Server::with(&format!("tls {{ {TLS} }}"), write_certificates).await;
        let tls_url = server.url().replace("nats://", "tls://");
        connects(&tls_url, Auth::None, trusting(server.dir())).await;
        connects(&server.url(), Auth::None, trusting(server.dir())).await;
        let distrust = refused(&server.url(), Auth::None, TlsOptions::default()).await;
        assert_eq!(distrust, ConnectErrorKind::Tls);

        let first = format!("tls {{ {TLS}, handshake_first: true }}");
        let server = Server::with(&first, write_certificates).await;
        let tls = TlsOptions {
            handshake_first: true,
            ..trusting(server.dir())
        };
        connects(&server.url(), Auth::None, tls).await;

        let plain = Server::with("", write_certificates).await;
        let downgraded = refused(&plain.url(), Auth::None, trusting(plain.dir())).await;
        assert_eq!(downgraded, ConnectErrorKind::Tls);
    });
}

#[test]
fn client_certificate() {
    run(async {
        let verify = format!("tls {{ {TLS}, ca_file: \"@DIR@/ca.pem\", verify: true }}");
        let server = Server::with(&verify, write_certificates).await;
        let file = |name: &str| -> PathBuf { server.dir().join(name) };
        let client_cert = Some((file("client.pem"), file("client.key")));
        let tls = TlsOptions {
            client_cert,
            ..trusting(server.dir())
        };
        connects(&server.url(), Auth::None, tls).await;
        let absent = Some((file("none.pem"), file("client.key")));
        let tls = TlsOptions {
            client_cert: absent,
            ..trusting(server.dir())
        };
        assert_eq!(
            refused(&server.url(), Auth::None, tls).await,
            ConnectErrorKind::Tls
        );
    });
}

#[test]
fn records_flow_over_tls() {
    run(async {
        let server = Server::with(&format!("tls {{ {TLS} }}"), write_certificates).await;
        let mut options = options(&server.url());
        options.tls = trusting(server.dir());
        let client = Client::start(options);
        super::create_stream(&client).await;
        super::publish(&client, 1, 20_001, 512).await;
        super::within(client.shutdown()).await;
    });
}
