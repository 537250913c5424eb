//! The connections to the region's own NATS, as the plan wants them: one for questions, two for data.

use std::time::Duration;

use anyhow::Context;
use async_nats::{AuthError, ConnectOptions};
use causeway_config::address::NatsAuth;
use causeway_config::plan::RegionPlan;
use tokio::sync::watch;

use super::observe::note_control;
use crate::control::Control;
use crate::nats;
use crate::status::ConnectionStatus;

/// The connection for questions: async-nats, apart from the data.
pub(crate) async fn control(
    own: &RegionPlan,
    told: Option<watch::Sender<ConnectionStatus>>,
) -> anyhow::Result<Control> {
    let mut options = signing_in(own)?
        .name("causeway-control")
        .retry_on_initial_connect()
        .require_tls(own.nats.requires_tls())
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(50 << attempts.min(5)).min(Duration::from_secs(1))
        });
    if let Some(told) = told {
        options = options.event_callback(move |event| {
            note_control(&told, &event);
            std::future::ready(())
        });
    }
    if let Some(tls) = &own.nats.tls {
        if let Some(ca) = &tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((cert, key)) = &tls.identity {
            options = options.add_client_certificate(cert.clone(), key.as_path().to_owned());
        }
        if tls.first {
            options = options.tls_first();
        }
    }
    let servers: Vec<String> = own
        .nats
        .urls
        .iter()
        .map(|url| format!("{}://{}", if url.tls { "tls" } else { "nats" }, url.server))
        .collect();
    options = match own.nats.urls.iter().find_map(|url| url.auth.clone()) {
        Some(NatsAuth::UserPassword(user, password)) => {
            options.user_and_password(user, password.expose().to_owned())
        }
        Some(NatsAuth::Token(token)) => options.token(token.expose().to_owned()),
        None => options,
    };
    let client = options
        .connect(servers)
        .await
        .context("set up the control connection")?;
    Ok(Control::new(client, own.nats.domain.as_deref()))
}

/// Reads the credentials anew for each connection, as the data connections do: they can be renewed in place. What
/// cannot be used from the start is an error.
fn signing_in(own: &RegionPlan) -> anyhow::Result<ConnectOptions> {
    let Some(creds) = &own.nats.creds else {
        return Ok(ConnectOptions::new());
    };
    let path = creds.as_path().to_owned();
    nats::prove_with_creds(&path, b"")
        .map_err(anyhow::Error::msg)
        .context("read the credentials")?;
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let proof = nats::prove_with_creds(&path, &nonce);
        let auth = proof.map(|(jwt, signature)| {
            let mut auth = async_nats::Auth::new();
            (auth.jwt, auth.signature) = (Some(jwt), Some(signature));
            auth
        });
        std::future::ready(auth.map_err(AuthError::new))
    }))
}

/// Settings of a data connection.
pub(crate) fn nats_options(own: &RegionPlan, name: &str) -> nats::Options {
    let mut servers = Vec::new();
    for url in &own.nats.urls {
        servers.push(nats::ServerAddr {
            host: url.server.host.clone(),
            port: url.server.port,
            tls: url.tls,
            auth: match &url.auth {
                Some(NatsAuth::UserPassword(user, password)) => nats::Auth::Password {
                    user: user.clone(),
                    password: password.expose().to_owned(),
                },
                Some(NatsAuth::Token(token)) => nats::Auth::Token(token.expose().to_owned()),
                None => nats::Auth::None,
            },
            tls_name: None,
        });
    }
    let mut options = nats::Options::new(servers);
    options.name = format!("causeway-{name}");
    if let Some(creds) = &own.nats.creds {
        options.auth = nats::Auth::CredsFile(creds.as_path().to_owned());
    }
    options.tls.required = own.nats.requires_tls();
    if let Some(tls) = &own.nats.tls {
        options.tls.handshake_first = tls.first;
        options.tls.ca_files = tls.ca.iter().cloned().collect();
        options.tls.client_cert = tls
            .identity
            .as_ref()
            .map(|(cert, key)| (cert.clone(), key.as_path().to_owned()));
    }
    options
}
