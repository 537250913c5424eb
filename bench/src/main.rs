//! Causeway's measurements. Each prints the median of several rounds over data made from a seed, so
//! that two runs differ only by the machine.

use causeway_proto::codec::Effort;
use clap::{Args, Parser, Subcommand};

mod batcher;
mod codec;
mod events;
mod report;

#[derive(Parser)]
#[command(name = "causeway-bench", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Building batches and reading them: no compression.
    Batcher,
    /// Encoding batches for a lane and decoding them: checksum and zstd.
    Codec {
        /// light, shaped, high or highest.
        #[arg(long, default_value_t = Effort::default())]
        effort: Effort,
    },
}

/// What all measurements share.
#[derive(Args)]
struct Options {
    /// Number that fixes the data.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Records in a round.
    #[arg(long, global = true, default_value_t = 200_000)]
    records: usize,
    /// Length of a record's JSON payload, in bytes.
    #[arg(long, global = true, default_value_t = 512)]
    payload_len: usize,
    /// Plain bytes at which a batch is sealed; 1 makes each record a batch, as on a quiet lane.
    #[arg(long, global = true, default_value_t = causeway_proto::limits::BATCH_PLAIN_LEN_TARGET)]
    batch_len: usize,
    /// Rounds; the median counts.
    #[arg(long, global = true, default_value_t = 7)]
    rounds: usize,
    /// Print one JSON object instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

fn main() {
    let Cli { command, options } = Cli::parse();
    let events = events::Events::generate(options.seed, options.records, options.payload_len);
    let report = match command {
        Command::Batcher => batcher::measure(&events, &options),
        Command::Codec { effort } => codec::measure(&events, effort, &options),
    };
    print!(
        "{}",
        if options.json {
            report.to_json()
        } else {
            report.to_table()
        }
    );
}
