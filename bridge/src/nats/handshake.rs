//! From a server's address to a connection that may be used: TCP, TLS, INFO, CONNECT, PONG.

use std::io;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::{ConnectError, ConnectErrorKind as Kind, ProtocolError};
use super::options::{Auth, Options, ServerAddr};
use super::parser::{Control, scan};
use super::proof::{Proof, prove};
use super::transport::{Transport, secure};

/// What a server says about itself, at the start and whenever it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) server_id: String,
    pub(crate) server_name: String,
    pub(crate) version: String,
    pub(crate) cluster: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) jetstream: bool,
    pub(crate) headers: bool,
    pub(crate) max_payload: usize,
    pub(crate) client_id: u64,
    pub(crate) nonce: String,
    pub(crate) tls_required: bool,
    pub(crate) tls_available: bool,
    pub(crate) connect_urls: Vec<String>,
    #[serde(rename = "ldm")]
    pub(crate) lame_duck: bool,
}

/// A connection on which the server has accepted us.
pub(crate) struct Established {
    pub(crate) transport: Transport,
    /// Bytes already read behind the handshake.
    pub(crate) buffer: BytesMut,
    pub(crate) info: Info,
    pub(crate) server: ServerAddr,
}

#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    lang: &'static str,
    version: &'static str,
    protocol: u8,
    headers: bool,
    no_responders: bool,
    name: &'a str,
    tls_required: bool,
    #[serde(flatten)]
    proof: Proof,
}

/// Connects to `server` and logs in, within the time that the options allow.
pub(crate) async fn connect(
    options: &Options,
    server: &ServerAddr,
) -> Result<Established, ConnectError> {
    match tokio::time::timeout(options.connect_timeout, attempt(options, server)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::new(
            Kind::Timeout,
            server,
            "no connection in time",
        )),
    }
}

async fn attempt(options: &Options, server: &ServerAddr) -> Result<Established, ConnectError> {
    let failed = |kind: Kind| move |error: io::Error| ConnectError::new(kind, server, error);
    let tcp = TcpStream::connect((server.host.as_str(), server.port))
        .await
        .map_err(failed(Kind::Io))?;
    tcp.set_nodelay(true).map_err(failed(Kind::Io))?;
    let mut buffer = BytesMut::new();
    let mut transport = Transport::Plain(tcp);
    if options.tls.handshake_first {
        transport = upgrade(transport, options, server).await?;
    }
    let info = read_info(&mut transport, &mut buffer, server).await?;
    let demanded = server.tls || options.tls.is_required() || info.tls_required;
    if demanded && !options.tls.handshake_first {
        if !info.tls_required && !info.tls_available {
            return Err(ConnectError::new(
                Kind::Tls,
                server,
                "the server offers no TLS",
            ));
        }
        if !buffer.is_empty() {
            // Anything sent in the clear behind INFO could have been put there by anybody.
            return Err(ConnectError::new(
                Kind::Protocol,
                server,
                "data between INFO and TLS",
            ));
        }
        transport = upgrade(transport, options, server).await?;
    }
    if !info.headers {
        return Err(ConnectError::new(
            Kind::Protocol,
            server,
            "the server has no headers",
        ));
    }
    log_in(&mut transport, &mut buffer, options, server, &info).await?;
    Ok(Established {
        transport,
        buffer,
        info,
        server: server.clone(),
    })
}

async fn upgrade(
    transport: Transport,
    options: &Options,
    server: &ServerAddr,
) -> Result<Transport, ConnectError> {
    let Transport::Plain(tcp) = transport else {
        return Ok(transport);
    };
    secure(tcp, &options.tls, server)
        .await
        .map_err(|error| ConnectError::new(Kind::Tls, server, error))
}

async fn read_info(
    transport: &mut Transport,
    buffer: &mut BytesMut,
    server: &ServerAddr,
) -> Result<Info, ConnectError> {
    match read_control(transport, buffer, server).await? {
        Frame::Info(info) => Ok(*info),
        Frame::Error(text) => Err(server_error(server, &text)),
        Frame::Pong => Err(ConnectError::new(
            Kind::Protocol,
            server,
            "the server did not begin with INFO",
        )),
    }
}

/// Sends CONNECT and PING: the PONG says that we were accepted.
async fn log_in(
    transport: &mut Transport,
    buffer: &mut BytesMut,
    options: &Options,
    server: &ServerAddr,
    info: &Info,
) -> Result<(), ConnectError> {
    let auth = if server.auth == Auth::None {
        &options.auth
    } else {
        &server.auth
    };
    let connect = Connect {
        verbose: false,
        pedantic: false,
        lang: "rust",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        headers: true,
        no_responders: true,
        name: &options.name,
        tls_required: matches!(transport, Transport::Tls(_)),
        proof: prove(auth, &info.nonce)
            .map_err(|text| ConnectError::new(Kind::Auth, server, text))?,
    };
    let connect = serde_json::to_string(&connect).expect("a struct of texts has a JSON form");
    let io_failed = |error: io::Error| ConnectError::new(Kind::Io, server, error);
    let greeting = format!("CONNECT {connect}\r\nPING\r\n");
    transport
        .write_all(greeting.as_bytes())
        .await
        .map_err(io_failed)?;
    transport.flush().await.map_err(io_failed)?;
    loop {
        match read_control(transport, buffer, server).await? {
            Frame::Pong => return Ok(()),
            Frame::Error(text) => return Err(server_error(server, &text)),
            Frame::Info(_) => {}
        }
    }
}

enum Frame {
    Info(Box<Info>),
    Pong,
    Error(String),
}

/// The next control frame of interest; leaves everything behind it in `buffer`.
async fn read_control(
    transport: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    server: &ServerAddr,
) -> Result<Frame, ConnectError> {
    let protocol = |error: ProtocolError| ConnectError::new(Kind::Protocol, server, error);
    loop {
        // One line at a time: what follows may belong to another reader.
        while let Some(end) = memchr::memchr(b'\n', buffer) {
            let line = buffer.split_to(end + 1);
            let found = scan(&line).map_err(protocol)?;
            match found.controls.first() {
                Some(Control::Info(span)) => {
                    let info = parse_info(&line[span.clone()]).map_err(protocol)?;
                    return Ok(Frame::Info(Box::new(info)));
                }
                Some(Control::Error(span)) => {
                    return Ok(Frame::Error(error_text(&line[span.clone()])));
                }
                Some(Control::Pong) => return Ok(Frame::Pong),
                Some(Control::Ping) | None => {}
            }
        }
        scan(buffer).map_err(protocol)?; // bounds a line that never ends
        let read = transport.read_buf(buffer).await;
        if read.map_err(|error| ConnectError::new(Kind::Io, server, error))? == 0 {
            return Err(ConnectError::new(
                Kind::Io,
                server,
                "closed by the server at login",
            ));
        }
    }
}

pub(crate) fn parse_info(json: &[u8]) -> Result<Info, ProtocolError> {
    serde_json::from_slice(json).map_err(|_| ProtocolError::MalformedInfo)
}

/// The text of `-ERR 'text'`.
pub(crate) fn error_text(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw)
        .trim()
        .trim_matches('\'')
        .to_owned()
}

/// What a fatal `-ERR` means for us.
pub(crate) fn server_error(server: &ServerAddr, text: &str) -> ConnectError {
    const AUTH: [&str; 3] = ["authorization", "authentication", "not authorized"];
    let lower = text.to_ascii_lowercase();
    let is_auth = AUTH.iter().any(|word| lower.contains(word));
    let is_tls = lower.contains("tls required") || lower.contains("secure connection");
    let kind = match (is_auth, is_tls) {
        (true, _) => Kind::Auth,
        (_, true) => Kind::Tls,
        _ => Kind::Io,
    };
    ConnectError::new(kind, server, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "nats://127.0.0.1:1";

    #[test]
    fn server_errors_are_told_apart_by_who_must_act() {
        let server = ServerAddr::parse(SERVER).unwrap();
        let kind = |text: &str| server_error(&server, text).kind;
        assert_eq!(kind("Authorization Violation"), Kind::Auth);
        assert_eq!(kind("User Authentication Expired"), Kind::Auth);
        assert_eq!(kind("Secure Connection - TLS Required"), Kind::Tls);
        assert_eq!(kind("maximum connections exceeded"), Kind::Io);
    }

    #[tokio::test]
    async fn a_peer_that_is_no_nats_server_is_named_so() {
        let server = ServerAddr::parse(SERVER).unwrap();
        let mut buffer = BytesMut::new();
        let mut peer: &[u8] = b"SSH-2.0-OpenSSH\r\n";
        let error = read_control(&mut peer, &mut buffer, &server)
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind, Kind::Protocol);
        let mut peer: &[u8] = b"INFO {}";
        let error = read_control(&mut peer, &mut buffer, &server)
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind, Kind::Io);
    }
}
