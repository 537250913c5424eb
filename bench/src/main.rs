//! Causeway's measurements. Each prints the median of several rounds over data made from a seed, so
//! that two runs differ only by the machine. `wan` and `wan-accuracy` stand apart: real hosts on an emulated link.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use causeway_proto::codec::Effort;
use clap::{Args, Parser, Subcommand};

use self::events::Events;

mod batcher;
mod codec;
mod events;
mod report;
mod wan;

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
        /// light, medium, high or highest.
        #[arg(long, default_value_t = Effort::default())]
        effort: Effort,
    },
    /// Whether the emulated WAN does what its profiles say, here and now. Needs root.
    WanAccuracy(wan::AccuracyOptions),
    /// Causeway and native replication on the same emulated links. Needs root, and the release binary of `causeway`.
    Wan(wan::WanOptions),
    /// Live records on one route while another one catches up on the same link. Needs root.
    WanLanes(wan::LanesOptions),
    /// What comes of a cut, while records go on. Needs root.
    WanCut(wan::CutOptions),
    /// A link that is full for minutes: how steadily it moves. Needs root.
    WanSteady(wan::SteadyOptions),
    /// A hub with many idle links and routes: CPU and memory. Needs root.
    Hub(wan::HubOptions),
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
    /// Your own records instead, for `batcher` and `codec`: the file's lines, each a payload.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "payload_len"
    )]
    lines: Option<PathBuf>,
    /// Plain bytes at which a batch is sealed; 1 makes each record a batch, as on a quiet lane.
    #[arg(long, global = true, default_value_t = causeway_proto::limits::BATCH_PLAIN_LEN_TARGET)]
    batch_len: usize,
    /// Rounds; the median counts. By default 7; 3 of `wan`, 1 of `wan --quick`.
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Print one JSON object instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    let done = match command {
        Command::Batcher => options
            .events()
            .and_then(|events| print(&options, batcher::measure(&events, &options))),
        Command::Codec { effort } => options
            .events()
            .and_then(|events| print(&options, codec::measure(&events, effort, &options))),
        Command::WanAccuracy(accuracy) => wan::accuracy(&accuracy, options.json),
        Command::Wan(wan) => wan::compare(&wan, &options),
        Command::WanLanes(lanes) => wan::lanes(&lanes, &options),
        Command::WanCut(cut) => wan::cut(&cut, &options),
        Command::WanSteady(steady) => wan::steady(&steady, &options),
        Command::Hub(hub) => wan::hub(&hub, &options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("causeway-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn events(&self) -> Result<Events> {
        match &self.lines {
            Some(file) => Events::read(file, self.records),
            None => Ok(Events::generate(self.seed, self.records, self.payload_len)),
        }
    }
}

fn print(options: &Options, report: report::Report) -> Result<ExitCode> {
    let text = if options.json {
        report.to_json()
    } else {
        report.to_table()
    };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
