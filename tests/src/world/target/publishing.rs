//! How a receiver's driver publishes: runs, and the connection that they go over.

use super::*;

impl World {
    /// Sends a run down the connection. Records that the publisher itself refuses end it.
    pub(super) fn publish_run(&mut self, number: usize, connection: u64, run: &Run) {
        let path = self.routes[number].path;
        self.runs += 1;
        let mut job = Job {
            route: number,
            run: self.runs,
            stream: path.target,
            messages: VecDeque::new(),
            expected_last: run.expected_last.filter(|_| run.counted),
            cut: None,
            count: 0,
            last_seq: 0,
            refusal: None,
        };
        let mut records = 0;
        for record in run.records() {
            records += 1;
            let at = Position {
                seq: record.seq,
                stored_at: record.stored_at,
            };
            let message = message(&record, number, path.from, run.time_of(&record));
            if job.cut.is_none() && message.is_expired(self.now) {
                self.oracle.expired(number, at);
                job.cut = Some(RunEnd::Expired);
            }
            if job.cut.is_none() {
                job.messages.push_back(message);
            }
        }
        if records != run.record_count || records == 0 {
            self.oracle.fail(format!(
                "route {number}: a run of {} holds {records}",
                run.record_count
            ));
        }
        self.tell(|| {
            format!(
                "route {number} publishes {records} from {:?}",
                run.position(0)
            )
        });
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        inbound.run = job.run;
        if let (true, Some(end)) = (job.messages.is_empty(), &job.cut) {
            let result = RunResult {
                stored: 0,
                last_seq: None,
                end: end.clone(),
            };
            let (run, after) = (job.run, Duration::from_micros(10));
            return self.later(path.to, after, BridgeEvent::RunEnded(number, run, result));
        }
        let inbox = self.servers[path.to].inboxes.entry(connection).or_default();
        let first = inbox.is_empty();
        inbox.push_back(job);
        if first {
            let after = self.local_latency();
            self.queue
                .push(self.now + after, Event::ServerReads(path.to, connection));
        }
    }

    pub(in crate::world) fn run_ended(&mut self, number: usize, run: u64, result: RunResult) {
        let now = self.now;
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        if !inbound.busy || inbound.run != run {
            return; // its connection is gone, which the receiver has heard
        }
        inbound.busy = false;
        inbound.run = 0;
        inbound.receiver.handle_run(result.clone(), now);
        self.tell(|| format!("route {number} hears {result:?}"));
    }

    /// Connects, once the server has read the connection before to its end.
    pub(in crate::world) fn connect_target(&mut self, number: usize) {
        let path = self.routes[number].path;
        let server = &self.servers[path.to];
        let drained = !server.inboxes.contains_key(&self.drains[number]);
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        if inbound.connection.is_some() {
            return;
        }
        if !server.up || !drained || inbound.busy {
            let after = RECONNECT + self.some(RECONNECT);
            return self.later(path.to, after, BridgeEvent::ConnectTarget(number));
        }
        self.connections += 1;
        self.drains[number] = self.connections;
        inbound.connection = Some(self.connections);
        inbound.next = None;
        inbound.receiver.handle_connected();
        self.tell(|| format!("route {number} connects to its target"));
    }

    /// The connection of a route's publisher breaks. The server reads some of what is still under way.
    pub(in crate::world) fn break_connection(&mut self, number: usize) {
        let path = self.routes[number].path;
        let connection = self.drains[number];
        if let Some(inbox) = self.servers[path.to].inboxes.get_mut(&connection) {
            for job in inbox.iter_mut() {
                let arrive = self.rng.random_range(0..=job.messages.len());
                job.messages.truncate(arrive);
                job.cut = None;
            }
        }
        let now = self.now;
        let Some(inbound) = self.routes[number].inbound.as_mut() else {
            return;
        };
        if inbound.connection.take().is_none() {
            return;
        }
        if inbound.run != 0 {
            (inbound.busy, inbound.run) = (false, 0);
            let result = RunResult {
                stored: 0,
                last_seq: None,
                end: RunEnd::ConnectionLost,
            };
            inbound.receiver.handle_run(result, now);
        }
        inbound.receiver.handle_disconnected(now);
        self.tell(|| format!("route {number} loses its target's connection"));
        let after = self.some(RECONNECT);
        self.later(path.to, after, BridgeEvent::ConnectTarget(number));
    }
}
