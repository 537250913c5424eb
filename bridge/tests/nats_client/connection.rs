//! Connection, subscriptions, writer and requests.

use std::time::Duration;

use bytes::BytesMut;
use causeway::nats::{
    Client, ConnectErrorKind, Event, Predecessor, RequestError, ServerAddr, Stale, State,
    append_publish,
};

use super::server::Server;
use super::{STEP, connected, event, options, run, start, state, within};

fn frame(subject: &str, payload: &[u8]) -> BytesMut {
    let mut chunk = BytesMut::new();
    append_publish(&mut chunk, subject.as_bytes(), b"", &[], payload).unwrap();
    chunk
}

#[test]
fn poison_headers_arrive_byte_for_byte() {
    run(async {
        let server = Server::start().await;
        let client = start(&server.url());
        super::create_stream(&client).await;
        let blocks: [&[u8]; 5] = [
            b"NATS/1.0\r\nValue: \xff\xfe not UTF-8\r\n\r\n",
            b"NATS/1.0\r\nno colon at all\r\n\r\n",
            b"NATS/1.0\r\nname with space: x\r\n\r\n",
            b"NATS/1.0\r\nZed:  1 \r\nalpha:2\r\nZed:3\r\n folded\r\n\r\n",
            b"NATS/1.0\r\nEmpty:\r\n\r\n",
        ];
        let generation = connected(&client).await;
        let mut chunk = BytesMut::new();
        for block in blocks {
            let (head, tail) = block.split_at(12);
            append_publish(&mut chunk, b"s.poison", b"", &[head, tail], b"body").unwrap();
        }
        let mut subscription = client.subscribe("s.>").unwrap();
        while !matches!(event(&mut subscription).await, Event::Up { .. }) {}
        client.writer().send(chunk, generation).await.unwrap();
        let mut seen = 0;
        while seen < blocks.len() {
            let Event::Block(block) = event(&mut subscription).await else {
                continue;
            };
            for message in block.iter() {
                assert_eq!(message.headers, blocks[seen]);
                assert_eq!(
                    (message.subject, message.payload),
                    (&b"s.poison"[..], &b"body"[..])
                );
                seen += 1;
            }
        }
    });
}

#[test]
fn subscriptions_survive_a_killed_server_and_tell_generations_apart() {
    run(async {
        let mut server = Server::start().await;
        let client = start(&server.url());
        let mut subscription = client.subscribe("a.>").unwrap();
        let Event::Up {
            generation: 1,
            predecessor: Predecessor::None,
        } = event(&mut subscription).await
        else {
            panic!("the first event is Up");
        };
        let writer = client.writer();
        writer.send(frame("a.b", b"one"), 1).await.unwrap();
        let Event::Block(block) = event(&mut subscription).await else {
            panic!("a block")
        };
        assert_eq!(
            (block.generation(), block.message(0).payload),
            (1, &b"one"[..])
        );

        server.kill().await;
        assert!(matches!(
            event(&mut subscription).await,
            Event::Down { generation: 1 }
        ));
        assert_eq!(writer.send(frame("a.b", b"lost"), 1).await, Err(Stale));
        server.restart().await;
        let Event::Up {
            generation: 2,
            predecessor: Predecessor::Drained,
        } = event(&mut subscription).await
        else {
            panic!("the server's end was seen");
        };
        assert_eq!(writer.send(frame("a.b", b"stale"), 1).await, Err(Stale));
        writer.send(frame("a.b", b"two"), 2).await.unwrap();
        let Event::Block(block) = event(&mut subscription).await else {
            panic!("a block")
        };
        assert_eq!(
            (block.generation(), block.message(0).payload),
            (2, &b"two"[..])
        );
        within(client.shutdown()).await;
        assert!(matches!(
            event(&mut subscription).await,
            Event::Down { generation: 2 }
        ));
        assert!(within(subscription.next()).await.is_none());
    });
}

#[test]
fn a_slow_owner_holds_the_server_back_and_loses_nothing() {
    run(async {
        const COUNT: usize = 20_000;
        let server = Server::start().await;
        let mut slow = options(&server.url());
        slow.unread_bytes_max = 1024 * 1024;
        let slow = Client::start(slow);
        let mut subscription = slow.subscribe("flood").unwrap();
        connected(&slow).await;
        // The reply proves that the SUB before it was taken.
        let echo = slow.request("nobody.there", b"", STEP).await;
        assert_eq!(echo, Err(RequestError::NoResponders));

        let sender = start(&server.url());
        let generation = connected(&sender).await;
        let writer = sender.writer();
        let payload = [b'x'; 1000];
        for number in 0..COUNT {
            let mut body = number.to_string().into_bytes();
            body.extend_from_slice(&payload);
            within(writer.send(frame("flood", &body), generation))
                .await
                .unwrap();
        }
        // Everything is sent; the server has it or the socket does. The slow one has not died.
        within(sender.shutdown()).await;
        let mut next = 0;
        while next < COUNT {
            let Event::Block(block) = event(&mut subscription).await else {
                continue;
            };
            for message in block.iter() {
                assert!(message.payload.starts_with(format!("{next}x").as_bytes()));
                next += 1;
            }
        }
        assert_eq!(slow.generation(), Some(1));
    });
}

#[test]
fn requests_fail_by_kind() {
    run(async {
        let denied = "authorization { users = [{ user: u, password: p, permissions: {
            publish: { deny: [\"forbidden.>\"] } } }] }";
        let server = Server::with(denied, |_| {}).await;
        let url = server.url().replace("nats://", "nats://u:p@");
        let client = start(&url);
        let early = client.request("any", b"", STEP).await;
        assert_eq!(early, Err(RequestError::NotConnected));
        connected(&client).await;
        let ask = async |subject: &str, wait: Duration| client.request(subject, b"", wait).await;
        assert_eq!(ask("nobody", STEP).await, Err(RequestError::NoResponders));
        assert_eq!(
            ask("bad subject", STEP).await,
            Err(RequestError::InvalidSubject)
        );
        let mut watcher = client.subscribe("silent").unwrap();
        assert_eq!(
            ask("silent", Duration::from_millis(50)).await,
            Err(RequestError::Timeout)
        );
        let result = ask("forbidden.x", STEP).await;
        assert!(matches!(result, Err(RequestError::Denied(_))), "{result:?}");
        let denied = loop {
            if let Event::Denied(text) = event(&mut watcher).await {
                break text;
            }
        };
        assert!(denied.contains("forbidden.x"), "{denied}");
        within(client.shutdown()).await;
        assert_eq!(ask("nobody", STEP).await, Err(RequestError::Closed));
    });
}

#[test]
fn an_unreachable_server_is_named_and_left_for_another() {
    run(async {
        let server = Server::start().await;
        let mut both = options("nats://127.0.0.1:1");
        let unreachable = Client::start(both.clone());
        let found = state(&unreachable, |it| {
            matches!(
                it,
                State::Connecting {
                    reason: Some(_),
                    attempts: 2..
                }
            )
        });
        let State::Connecting {
            reason: Some(reason),
            ..
        } = found.await
        else {
            unreachable!()
        };
        assert_eq!(
            (reason.kind, reason.server.as_str()),
            (ConnectErrorKind::Io, "127.0.0.1:1")
        );
        within(unreachable.shutdown()).await;

        both.servers.push(ServerAddr::parse(&server.url()).unwrap());
        let client = Client::start(both);
        connected(&client).await;
        let State::Connected { info, .. } = client.watch().borrow().clone() else {
            unreachable!()
        };
        assert!(info.jetstream && info.is_at_least(2, 10));
        assert_eq!(info.max_payload, 1024 * 1024);
        let nobody = Client::start(causeway::nats::Options::new(Vec::new()));
        let none = |it: &State| match it {
            State::Connecting {
                reason: Some(reason),
                ..
            } => reason.kind == ConnectErrorKind::NoServers,
            _ => false,
        };
        state(&nobody, none).await;
        within(nobody.shutdown()).await;
    });
}
