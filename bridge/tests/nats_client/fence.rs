//! The fence between connections, against a peer that plays by a script.

use std::time::Duration;

use causeway::nats::{Client, Event, Options, Predecessor, ServerAddr, State};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{event, reason, run, state, within};

/// A scripted server.
struct Peer {
    listener: TcpListener,
}

/// One connection to it, logged in.
struct Session {
    stream: BufReader<TcpStream>,
}

impl Peer {
    async fn listen() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn addr(&self) -> ServerAddr {
        ServerAddr::parse(&self.listener.local_addr().unwrap().to_string()).unwrap()
    }

    async fn accept(&self) -> Session {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let mut session = Session {
            stream: BufReader::new(stream),
        };
        session
            .send("INFO {\"headers\":true,\"max_payload\":1048576}\r\n")
            .await;
        session.expect("CONNECT ").await;
        session.expect("PING").await;
        session.send("PONG\r\n").await;
        session
    }
}

impl Session {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads lines until one begins with `start`.
    async fn expect(&mut self, start: &str) -> String {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            let read = within(self.stream.read_line(&mut line)).await.unwrap();
            assert!(read > 0, "closed before {start:?}");
        }
        line
    }

    /// Reads until the client has closed its half.
    async fn expect_end(&mut self) -> String {
        let mut rest = Vec::new();
        within(self.stream.read_to_end(&mut rest)).await.unwrap();
        String::from_utf8(rest).unwrap()
    }
}

fn client(peers: &[&Peer]) -> Client {
    let mut options = Options::new(peers.iter().map(|peer| peer.addr()).collect());
    options.ping_interval = Duration::from_millis(50);
    options.drain_max = Duration::from_secs(30);
    Client::start(options)
}

#[test]
fn a_silent_peer_is_read_to_its_end_before_the_next_connection() {
    run(async {
        let peer = Peer::listen().await;
        let client = client(&[&peer]);
        let mut subscription = client.subscribe("a").unwrap();
        let mut session = peer.accept().await;
        assert!(matches!(
            event(&mut subscription).await,
            Event::Up { generation: 1, .. }
        ));
        session.expect("SUB a ").await;
        session.expect_end().await; // no PONG ever: the client gives up, and closes its half only
        assert_eq!(client.generation(), None);

        session.send("MSG a 2 4\r\nlate\r\n").await;
        let Event::Block(block) = event(&mut subscription).await else {
            panic!("late, not lost")
        };
        assert_eq!(
            (block.generation(), block.message(0).payload),
            (1, &b"late"[..])
        );
        drop(session);
        assert!(matches!(
            event(&mut subscription).await,
            Event::Down { generation: 1 }
        ));
        let _second = peer.accept().await;
        let Event::Up {
            generation: 2,
            predecessor: Predecessor::Drained,
        } = event(&mut subscription).await
        else {
            panic!("its end was seen");
        };
    });
}

#[test]
fn a_peer_that_never_ends_leaves_the_next_connection_unproven() {
    run(async {
        let peer = Peer::listen().await;
        let mut options = Options::new(vec![peer.addr()]);
        options.ping_interval = Duration::from_millis(20);
        options.drain_max = Duration::from_millis(100);
        let client = Client::start(options);
        let _silent = peer.accept().await;
        let first = state(&client, |it| matches!(it, State::Connected { .. })).await;
        let State::Connected {
            generation: 1,
            predecessor: Predecessor::None,
            ..
        } = first
        else {
            panic!("{first:?}");
        };
        let _second = peer.accept().await;
        let next = |it: &State| matches!(it, State::Connected { generation: 2, .. });
        let State::Connected { predecessor, .. } = state(&client, next).await else {
            unreachable!()
        };
        assert_eq!(predecessor, Predecessor::Unproven);
    });
}

#[test]
fn a_lame_duck_is_left_for_another_after_all_is_sent() {
    run(async {
        let (lame, other) = (Peer::listen().await, Peer::listen().await);
        let client = client(&[&lame, &other]);
        let mut session = lame.accept().await;
        state(&client, |it| {
            matches!(it, State::Connected { generation: 1, .. })
        })
        .await;
        let chunk = bytes::Bytes::from_static(b"PUB last 0\r\n\r\n");
        client.writer().send(chunk, 1).await.unwrap();
        session
            .send("INFO {\"headers\":true,\"ldm\":true}\r\n")
            .await;
        let sent = session.expect_end().await;
        assert!(sent.contains("PUB last 0\r\n\r\n"), "{sent:?}");
        drop(session);
        let _session = other.accept().await;
        let next = |it: &State| matches!(it, State::Connected { generation: 2, .. });
        let State::Connected {
            predecessor, info, ..
        } = state(&client, next).await
        else {
            unreachable!()
        };
        assert_eq!(predecessor, Predecessor::Drained);
        assert_eq!(info.address, other.addr().to_string());
    });
}

#[test]
fn nonsense_ends_the_connection_and_not_the_client() {
    run(async {
        let peer = Peer::listen().await;
        let client = client(&[&peer]);
        let mut subscription = client.subscribe("a").unwrap();
        let mut session = peer.accept().await;
        session.expect("SUB a ").await;
        session
            .send("MSG a 2 4\r\ngood\r\nMSG a 2 999999999999\r\n")
            .await;
        session.expect_end().await;
        drop(session);
        peer.accept().await;
        while !matches!(
            event(&mut subscription).await,
            Event::Up { generation: 2, .. }
        ) {}
    });
}

#[test]
fn what_the_server_said_last_is_the_reason() {
    run(async {
        let peer = Peer::listen().await;
        let client = client(&[&peer]);
        let mut session = peer.accept().await;
        session.send("-ERR 'User Authentication Expired'\r\n").await;
        drop(session);
        let reason = reason(&client).await;
        assert!(reason.kind.needs_person());
        assert_eq!(reason.text, "User Authentication Expired");
    });
}
