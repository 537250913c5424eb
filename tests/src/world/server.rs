//! What servers do: read what connections sent, answer, end and start again.

use std::time::Duration;

use causeway_proto::frame::StallReason;
use causeway_proto::id::TargetSeq;
use causeway_proto::run::{RunEnd, RunResult, Stalled};
use rand::Rng;

use super::{BridgeEvent, Event, World};
use crate::jetstream::{Job, Refusal, Stores};

/// Messages that a server stores before it looks at something else.
const READS_MAX: usize = 8;

impl World {
    /// The server reads on in what a connection sent, and answers a run at its end.
    pub(super) fn server_reads(&mut self, region: usize, connection: u64) {
        let reads = self.rng.random_range(1..=READS_MAX);
        let server = &mut self.servers[region];
        let Some(inbox) = server.inboxes.get_mut(&connection) else {
            return;
        };
        let Some(mut job) = inbox.pop_front() else {
            server.inboxes.remove(&connection); // read to its end
            return;
        };
        for _ in 0..reads {
            if job.refusal.is_none()
                && let Some(message) = job.messages.pop_front()
            {
                self.server_stores(region, &mut job, message);
            }
        }
        let ended = job.messages.is_empty() || job.refusal.is_some();
        if ended {
            self.answer(region, connection, &job);
        } else if let Some(inbox) = self.servers[region].inboxes.get_mut(&connection) {
            inbox.push_front(job);
        }
        let inboxes = &mut self.servers[region].inboxes;
        if inboxes
            .get(&connection)
            .is_some_and(std::collections::VecDeque::is_empty)
        {
            inboxes.remove(&connection);
            return;
        }
        let after = Duration::from_micros(self.rng.random_range(50..3000));
        self.queue
            .push(self.now + after, Event::ServerReads(region, connection));
    }

    fn server_stores(&mut self, region: usize, job: &mut Job, message: crate::jetstream::Message) {
        let server = &mut self.servers[region];
        if !server.quorum {
            job.refusal = Some(Refusal::NoQuorum);
            return;
        }
        let stream = &mut server.streams[job.stream];
        match stream.store(message, self.now) {
            Stores::At(seq) => {
                job.count += 1;
                job.last_seq = seq;
                self.oracle.stored(region, job.stream, seq, stream);
            }
            Stores::Duplicate => job.count += 1,
            Stores::Refused(refusal) => job.refusal = Some(refusal),
        }
    }

    /// The answer to a run, as the publisher understands it.
    fn answer(&mut self, region: usize, connection: u64, job: &Job) {
        let end = match (job.refusal, &job.cut) {
            (Some(Refusal::Poison), _) => RunEnd::Rejected {
                code: 10054,
                reason: "message size exceeds maximum".into(),
            },
            (Some(Refusal::Full), _) => stalled(StallReason::TargetFull, "maximum bytes exceeded"),
            (Some(Refusal::NoQuorum), _) => stalled(StallReason::NoQuorum, "no leader"),
            (None, Some(cut)) => cut.clone(),
            (None, None) => RunEnd::Complete,
        };
        let last_seq = (job.last_seq > 0).then_some(TargetSeq(job.last_seq));
        let moved = job.expected_last.zip(last_seq);
        let alone = moved.is_none_or(|(before, after)| after.0 <= before.0 + u64::from(job.count));
        let result = if alone {
            RunResult {
                stored: job.count,
                last_seq,
                end,
            }
        } else {
            let words = format!("{} records moved the target to {}", job.count, job.last_seq);
            RunResult {
                stored: 0,
                last_seq: None,
                end: RunEnd::Contradicted(words),
            }
        };
        let after = self.local_latency();
        let current = self.routes[job.route]
            .inbound
            .as_ref()
            .and_then(|inbound| inbound.connection);
        if current == Some(connection) {
            self.later(
                region,
                after,
                BridgeEvent::RunEnded(job.route, job.run, result),
            );
        }
    }

    /// A server ends; whoever was connected notices.
    pub fn crash_server(&mut self, region: usize, down: Duration, power_lost: bool) {
        if !self.servers[region].up {
            return;
        }
        self.tell(|| format!("server {region} crashes, power lost: {power_lost}"));
        self.servers[region].crash();
        for number in 0..self.routes.len() {
            if self.routes[number].path.to == region && self.bridges[region].up {
                self.break_connection(number);
            }
        }
        self.queue
            .push(self.now + down, Event::ServerStarts(region, power_lost));
    }

    pub(super) fn start_server(&mut self, region: usize, power_lost: bool) {
        self.servers[region].start();
        if power_lost {
            for stream in 0..self.servers[region].streams.len() {
                let last = self.servers[region].streams[stream].last_seq;
                let through = last.saturating_sub(self.rng.random_range(0..40));
                let through = self.covers.end((region, stream), through);
                let left = self.servers[region].streams[stream].lose_tail(through);
                if left < last {
                    self.oracle.went_back(region, stream, left, self.now);
                    self.tell(|| format!("stream {stream} of region {region} lost {left}..{last}"));
                }
            }
        }
        self.tell(|| format!("server {region} starts"));
    }

    /// Now and then everything is written to the disk.
    pub(super) fn fsync(&mut self, region: usize) {
        self.servers[region]
            .streams
            .iter_mut()
            .for_each(crate::jetstream::SimStream::fsync);
        let after = self.some(Duration::from_secs(4));
        self.queue.push(self.now + after, Event::Fsync(region));
    }

    /// A consumer takes some of what a work queue holds.
    pub(super) fn consume(&mut self, region: usize) {
        let takes = self.rng.random_range(0..20);
        for stream in &mut self.servers[region].streams {
            if stream.settings.work_queue {
                for _ in 0..takes {
                    stream.messages.pop_first();
                }
            }
        }
        let after = self.some(Duration::from_millis(300));
        self.queue.push(self.now + after, Event::Consume(region));
    }

    pub(super) fn make_room(&mut self, region: usize) {
        self.servers[region].quorum = true;
        self.servers[region]
            .streams
            .iter_mut()
            .for_each(|stream| stream.is_full = false);
    }
}

fn stalled(reason: StallReason, detail: &str) -> RunEnd {
    RunEnd::Stalled(Stalled {
        reason,
        detail: detail.to_owned(),
    })
}
