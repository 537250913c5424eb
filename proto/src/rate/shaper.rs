//! Datagrams held back until every bucket above them has room.

use std::collections::VecDeque;
use std::time::Duration;

use self::gather::Gather;
use super::bucket::Bucket;

mod gather;

/// How long the socket may be late without losing some of the rate, where that is more than two packets:
/// above 118 Mbit/s the burst is this long instead of two packets. A thread that sleeps cannot be woken
/// more finely, and a thread that does not sleep takes a core.
const BURST_TIME: Duration = Duration::from_micros(200);
/// The same for a flow whose rate nobody declared, but its controller found: that rate is no promise, so it
/// may leave in fewer, larger bursts, which costs less CPU. Its sleeper is woken twice a burst.
const BURST_TIME_FOUND: Duration = Duration::from_millis(1);
/// What a flow may have waiting here, in time. What waits here is decided: nothing overtakes it.
const QUEUE_TIME: Duration = Duration::from_millis(2);
/// Datagrams up to this size are acknowledgements, probes and closes. They obey the link's rate but do
/// not wait for the flow's pace, or a slow direction would hold up the fast one.
const SMALL: u64 = 200;

/// Names a link of a [`Shaper`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkKey(usize);

/// Names a flow (one connection) of a [`Shaper`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey(usize, u64);

/// What to do next.
#[derive(Debug)]
pub enum Step<P> {
    /// Send this datagram of that flow now.
    Send(FlowKey, P),
    /// Ask again then.
    Wait(Duration),
    /// Ask again when something was pushed.
    Idle,
}

#[derive(Debug)]
struct Link {
    bucket: Bucket,
    mtu: u64,
    gather: Gather,
}

#[derive(Debug)]
struct Flow<P> {
    key: FlowKey,
    link: LinkKey,
    pace: Bucket,
    queue: VecDeque<(u64, P)>,
    queued: u64,
}

impl<P> Flow<P> {
    /// Bytes of the first packets that are no more than `most` together, or of the first one.
    fn together(&self, most: u64) -> u64 {
        let mut sum = 0;
        for (bytes, _) in &self.queue {
            if sum > 0 && sum + bytes > most {
                break;
            }
            sum += bytes;
        }
        sum
    }
}

/// All links of a host. Flows of a link share its rate packet by packet, links share the host's.
///
/// Over any interval `t` no more than `rate * t + max(2 * mtu, rate * 200 us)` bytes of a link leave that declares
/// a rate, if each leaves between [`poll`](Self::poll) and the next [`settle`](Self::settle).
#[derive(Debug)]
pub struct Shaper<P> {
    host: Bucket,
    links: Vec<Link>,
    flows: Vec<Option<Flow<P>>>,
    /// Flows with something to send, the next one first.
    active: VecDeque<FlowKey>,
    serial: u64,
}

impl<P> Shaper<P> {
    /// No links yet. `host` is what all together may send, in bits a second.
    pub fn new(host: Option<u64>, now: Duration) -> Self {
        Self {
            host: Bucket::new(host, burst(host, 1500), now),
            links: Vec::new(),
            flows: Vec::new(),
            active: VecDeque::new(),
            serial: 0,
        }
    }

    /// Changes what all links together may send.
    pub fn set_host_rate(&mut self, now: Duration, rate: Option<u64>) {
        if self.host.rate() != rate {
            self.host.change(now, rate, burst(rate, 1500));
        }
    }

    /// Another link. `mtu` is the size of its largest IP packet.
    pub fn add_link(&mut self, now: Duration, rate: Option<u64>, mtu: u64) -> LinkKey {
        self.links.push(Link {
            bucket: Bucket::new(rate, burst(rate, mtu), now),
            mtu,
            gather: Gather::default(),
        });
        LinkKey(self.links.len() - 1)
    }

    /// Changes a link's rate.
    pub fn set_link_rate(&mut self, now: Duration, link: LinkKey, rate: Option<u64>) {
        if let Some(link) = self.links.get_mut(link.0)
            && link.bucket.rate() != rate
        {
            link.bucket.change(now, rate, burst(rate, link.mtu));
        }
    }

    /// Another flow of a link.
    pub fn add_flow(&mut self, now: Duration, link: LinkKey) -> FlowKey {
        self.serial += 1;
        let at = self.flows.iter().position(Option::is_none);
        let at = at.unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() - 1
        });
        let key = FlowKey(at, self.serial);
        self.flows[at] = Some(Flow {
            key,
            link,
            pace: Bucket::new(None, burst(None, self.mtu(link)), now),
            queue: VecDeque::new(),
            queued: 0,
        });
        key
    }

    /// Ends a flow. What it still has waiting goes with it.
    pub fn remove_flow(&mut self, key: FlowKey) {
        if self.flow(key).is_some() {
            self.flows[key.0] = None;
            self.active.retain(|other| *other != key);
        }
    }

    /// Whether nothing of any flow waits.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Puts a flow under another link.
    pub fn move_flow(&mut self, key: FlowKey, link: LinkKey) {
        if let Some(flow) = self.flow_mut(key) {
            flow.link = link;
        }
    }

    /// Counts bytes against a link that left before it was known whose they were. All that was to be sent has left.
    pub fn charge(&mut self, now: Duration, link: LinkKey, bytes: u64) {
        if let Some(link) = self.links.get_mut(link.0) {
            link.bucket.take(now, bytes);
            link.bucket.settle(now);
        }
    }

    /// Sets what a flow's controller allows it.
    pub fn set_pace(&mut self, now: Duration, key: FlowKey, rate: Option<u64>) {
        let Some(link) = self.flow(key).map(|flow| flow.link) else {
            return;
        };
        let mut most = burst(rate, self.mtu(link));
        if let Some(found) = rate.filter(|_| !self.is_declared(link)) {
            most = most.max(bytes_in(found, BURST_TIME_FOUND));
        }
        if let Some(flow) = self.flow_mut(key)
            && flow.pace.rate() != rate
        {
            flow.pace.change(now, rate, most);
        }
    }

    /// Whether a flow may push [`depth`](Self::depth) packets: half of what may wait, so that its sender is not
    /// woken for each packet, and no more waits than was meant. What waits here looks like a queue of the path.
    pub fn has_room(&self, key: FlowKey) -> bool {
        self.flow(key)
            .is_none_or(|flow| flow.queued * 2 <= self.limit(flow))
    }

    /// Full packets that a flow may push at once when it has room.
    pub fn depth(&self, key: FlowKey) -> u64 {
        self.flow(key).map_or(u64::MAX, |flow| {
            (self.limit(flow) / 2 / self.mtu(flow.link)).max(1)
        })
    }

    fn limit(&self, flow: &Flow<P>) -> u64 {
        let link = &self.links[flow.link.0];
        let rates = [flow.pace.rate(), link.bucket.rate(), self.host.rate()];
        match rates.into_iter().flatten().min() {
            Some(rate) => bytes_in(rate, QUEUE_TIME).max(2 * link.mtu),
            None => 64 * link.mtu,
        }
    }

    /// A datagram of a flow; `bytes` with its IP and UDP headers. True: nothing of the flow was waiting, so
    /// the next step may be due earlier than was said.
    pub fn push(&mut self, key: FlowKey, bytes: u64, datagram: P) -> bool {
        let Some(flow) = self.flow_mut(key) else {
            return false;
        };
        let was_empty = flow.queue.is_empty();
        flow.queue.push_back((bytes, datagram));
        flow.queued += bytes;
        if was_empty {
            self.active.push_back(key);
        }
        was_empty
    }

    /// What to do now.
    pub fn poll(&mut self, now: Duration) -> Step<P> {
        let mut wait = Duration::MAX;
        let mut host_is_taken = false;
        let mut links_taken: Vec<LinkKey> = Vec::new();
        for turn in 0..self.active.len() {
            let key = self.active[turn];
            let Some(flow) = self.flows[key.0].as_mut() else {
                continue;
            };
            let Some((bytes, _)) = flow.queue.front() else {
                continue;
            };
            let bytes = *bytes;
            let link = &mut self.links[flow.link.0];
            if flow.pace.ready_at(now, bytes) > now && bytes > SMALL {
                let is_declared = link.bucket.rate().or_else(|| self.host.rate()).is_some();
                let together = match is_declared {
                    true => flow.together(link.gather.wait(&flow.pace)),
                    false => (flow.pace.burst() / 2).min(flow.queued).max(bytes),
                };
                wait = wait.min(flow.pace.ready_at(now, together));
                continue;
            }
            // Who waits for a shared bucket comes before all behind him, or small packets would starve large ones.
            if host_is_taken || links_taken.contains(&flow.link) {
                continue;
            }
            if link.bucket.ready_at(now, bytes) > now {
                let together = flow.together(link.gather.wait(&link.bucket));
                wait = wait.min(link.bucket.ready_at(now, together));
                links_taken.push(flow.link);
                continue;
            }
            if self.host.ready_at(now, bytes) > now {
                let together = flow.together(link.gather.wait(&self.host));
                wait = wait.min(self.host.ready_at(now, together));
                host_is_taken = true;
                continue;
            }
            let buckets = [&flow.pace, &link.bucket, &self.host];
            link.gather.pass(now, buckets);
            if bytes > SMALL {
                flow.pace.take(now, bytes);
            } else {
                flow.pace.take_ahead(now, bytes);
            }
            link.bucket.take(now, bytes);
            self.host.take(now, bytes);
            return self.release(turn);
        }
        if wait == Duration::MAX {
            Step::Idle
        } else {
            Step::Wait(wait)
        }
    }

    /// All that was to be sent has left by now. Until this is said the buckets reckon with its leaving at any moment.
    pub fn settle(&mut self, now: Duration) {
        self.host.settle(now);
        self.links.iter_mut().for_each(|it| it.bucket.settle(now));
        let flows = self.flows.iter_mut().flatten();
        flows.for_each(|it| it.pace.settle(now));
    }

    /// Takes the first datagram of the flow whose turn it is, and sends that flow to the end of the queue.
    fn release(&mut self, turn: usize) -> Step<P> {
        let key = self.active.remove(turn);
        let flow = key.and_then(|key| self.flow_mut(key));
        let Some((flow, (bytes, datagram))) =
            flow.and_then(|flow| flow.queue.pop_front().map(|front| (flow, front)))
        else {
            return Step::Idle;
        };
        flow.queued -= bytes;
        let (key, is_empty) = (flow.key, flow.queue.is_empty());
        if !is_empty {
            self.active.push_back(key);
        }
        Step::Send(key, datagram)
    }

    fn flow(&self, key: FlowKey) -> Option<&Flow<P>> {
        self.flows
            .get(key.0)?
            .as_ref()
            .filter(|flow| flow.key == key)
    }

    fn flow_mut(&mut self, key: FlowKey) -> Option<&mut Flow<P>> {
        self.flows
            .get_mut(key.0)?
            .as_mut()
            .filter(|flow| flow.key == key)
    }

    /// Whether somebody promised a rate for what leaves over this link.
    fn is_declared(&self, link: LinkKey) -> bool {
        self.links[link.0]
            .bucket
            .rate()
            .or_else(|| self.host.rate())
            .is_some()
    }

    fn mtu(&self, link: LinkKey) -> u64 {
        self.links[link.0].mtu
    }
}

fn burst(rate: Option<u64>, mtu: u64) -> u64 {
    rate.map_or(2 * mtu, |rate| bytes_in(rate, BURST_TIME).max(2 * mtu))
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    (u128::from(rate) * time.as_nanos() / 8_000_000_000) as u64
}

#[cfg(test)]
mod tests;
