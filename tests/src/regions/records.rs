//! Numbered records: published, and read again with an ordinary client.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, consumer};
use causeway::demo::server::Server;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

/// On a busy machine.
const OPENED_WITHIN: Duration = Duration::from_secs(3);

/// An ordinary client of a server.
pub async fn jetstream_of(server: &Server) -> Result<jetstream::Context> {
    Ok(server.jetstream().await?)
}

/// Publishes records with the numbers from `first` on below `root`, and waits until they are stored.
pub async fn publish(
    jetstream: &jetstream::Context,
    root: &str,
    first: u64,
    count: u64,
) -> Result<()> {
    let mut acks = Vec::new();
    for number in first..first + count {
        let body = format!("{{\"n\":{number},\"text\":\"{}\"}}", "x".repeat(200));
        let subject = format!("{root}.{}", number % 7);
        acks.push(jetstream.publish(subject, body.into()).await?);
        if acks.len() == 500 {
            for ack in acks.drain(..) {
                ack.await?;
            }
        }
    }
    for ack in acks {
        ack.await?;
    }
    Ok(())
}

/// Reads the numbers of the first `count` records of a stream, waiting until they are there.
pub async fn read_numbers(server: &Server, stream: &str, count: u64) -> Result<Vec<u64>> {
    let number = |message: &jetstream::Message| {
        let body: serde_json::Value = serde_json::from_slice(&message.payload)?;
        body["n"].as_u64().context("a record without a number")
    };
    let records = read_records(server, stream, count).await?;
    records.iter().map(number).collect()
}

/// Reads the first `count` records that a stream holds, waiting until they are there.
pub async fn read_records(
    server: &Server,
    stream: &str,
    count: u64,
) -> Result<Vec<jetstream::Message>> {
    let jetstream = jetstream_of(server).await?;
    let mut messages = loop {
        let opened = timeout(OPENED_WITHIN, open(&jetstream, stream)).await;
        match opened {
            Ok(Ok(messages)) => break messages,
            // The route creates it. The server's advisories of that cannot be waited for: about one in
            // ten misses a subscription made while the stream is being created (2.15.1).
            Ok(Err(_)) => sleep(Duration::from_millis(20)).await,
            // Nobody answers while a cluster elects a leader.
            Err(_) => {}
        }
    };
    let mut records = Vec::new();
    while (records.len() as u64) < count {
        records.push(messages.next().await.context("the reader ended")??);
    }
    Ok(records)
}

async fn open(jetstream: &jetstream::Context, stream: &str) -> Result<consumer::pull::Ordered> {
    let stream = jetstream.get_stream(stream).await?;
    let config = consumer::pull::OrderedConfig::default();
    Ok(stream.create_consumer(config).await?.messages().await?)
}
