//! Reads a whole stream with an ordinary consumer of the NATS client.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::time::timeout;

use super::Digest;
use crate::demo::load::PERSONAL_PREFIX;

const NEXT_WITHIN: Duration = Duration::from_secs(30);

/// What the verification keeps of a stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The running number that its publisher gave it; none when its payload cannot be read.
    pub number: Option<u64>,
    /// Hash of its subject, own headers and payload.
    pub digest: Digest,
    /// Whether its subject says that it may not leave its region.
    pub is_personal: bool,
    /// When the server stored it, in nanoseconds since 1970.
    pub stored_at_ns: i128,
    /// The size of its payload.
    pub payload_bytes: u64,
}

#[derive(Deserialize)]
struct Numbered {
    n: u64,
}

/// Reads the stream from its first record to what was its last when the reading began.
///
/// # Errors
/// There is no such stream, or the server stops delivering.
pub async fn read_stream(jetstream: &jetstream::Context, name: &str) -> Result<Vec<Stored>> {
    let stream = jetstream
        .get_stream(name)
        .await
        .with_context(|| format!("find stream {name}"))?;
    let state = stream
        .get_info()
        .await
        .with_context(|| format!("ask about stream {name}"))?
        .state;
    let mut records = Vec::with_capacity(usize::try_from(state.messages)?);
    if state.messages == 0 {
        return Ok(records);
    }
    let consumer = stream.create_consumer(OrderedConfig::default()).await?;
    let mut messages = consumer.messages().await?;
    loop {
        let message = timeout(NEXT_WITHIN, messages.try_next())
            .await
            .with_context(|| format!("read stream {name}: nothing came for {NEXT_WITHIN:?}"))??
            .with_context(|| format!("read stream {name}: the consumer ended"))?;
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        let is_last = info.stream_sequence >= state.last_sequence || info.pending == 0;
        records.push(Stored {
            number: serde_json::from_slice::<Numbered>(&message.payload)
                .ok()
                .map(|it| it.n),
            digest: Digest::of(&message.subject, message.headers.as_ref(), &message.payload),
            is_personal: message.subject.starts_with(PERSONAL_PREFIX),
            stored_at_ns: info.published.unix_timestamp_nanos(),
            payload_bytes: message.payload.len() as u64,
        });
        if is_last {
            return Ok(records);
        }
    }
}

/// The records of personal data in all streams of a region, whatever their names: there where none may be.
///
/// # Errors
/// The server does not answer.
pub async fn count_personal(jetstream: &jetstream::Context) -> Result<u64> {
    let names: Vec<String> = jetstream.stream_names().try_collect().await?;
    let filter = format!("{PERSONAL_PREFIX}>");
    let mut count = 0;
    for name in names {
        let stream = jetstream.get_stream(&name).await?;
        let mut subjects = stream.info_with_subjects(&filter).await?;
        while let Some(subject) = subjects.next().await {
            count += subject?.1 as u64;
        }
    }
    Ok(count)
}
