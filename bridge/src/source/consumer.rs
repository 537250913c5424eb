//! A consumer, made right behind what was read, and whether its stream is still the one that was read.
//!
//! A consumer is lost for many reasons, and that its stream was deleted, restored or cut short is one
//! of them. Sequences then name other records, and reading on behind the last one would skip those.

use std::time::Duration;

use causeway_proto::id::SourceSeq;
use causeway_proto::resume::ReadSoFar;
use serde_json::{Value, json};

use super::Finder;
use crate::control::{Control, ControlError};

/// The server forgets the consumer when nothing was pulled for so long.
const INACTIVE: Duration = Duration::from_secs(60);

/// A consumer that was made just now.
pub(super) struct Made {
    pub(super) consumer: String,
    /// Records that one pull may ask for, where the server bounds them.
    pub(super) batch_max: Option<u64>,
    /// First sequence still in the stream.
    pub(super) first_seq: SourceSeq,
    /// Whether the stream is the one that was read.
    pub(super) goes_on: bool,
}

/// Makes a consumer behind what was read.
pub(super) async fn make(
    control: Control,
    stream: String,
    filters: Vec<String>,
    read: ReadSoFar,
) -> Result<Made, ControlError> {
    let config = config(&filters, read.through);
    let (consumer, batch_max) = control.create_consumer(&stream, &config).await?;
    // Asked after it was made: a stream that is replaced from now on takes the consumer with it.
    let found = Finder::new(control, stream)
        .try_find(read.record, None)
        .await?;
    Ok(Made {
        consumer,
        batch_max,
        first_seq: found.facts.first_seq,
        goes_on: read.goes_on_in(found.created_ns, &found.facts),
    })
}

fn config(filters: &[String], through: SourceSeq) -> Value {
    let name = format!("causeway-{:08x}", rand::random::<u32>());
    let mut config = json!({
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": through.0 + 1,
        "ack_policy": "none",
        "replay_policy": "instant",
        "max_deliver": 1,
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": INACTIVE.as_nanos() as u64,
    });
    match filters {
        [all] if all == ">" => {}
        [one] => config["filter_subject"] = json!(one),
        many => config["filter_subjects"] = json!(many),
    }
    config
}
