//! Batches larger than the path holds, among others that always have more: schedule, backlog, and a connection
//! that sends by class, then the older first.

use super::*;
use crate::lanes::stream_priority;

const LIVE_LEN: usize = 500;
const LIVE_INTERVAL: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(5);
/// Of every packet, what is not of a batch.
const HEADS: u64 = 50;

/// What a lane of the model offers.
#[derive(Clone, Copy)]
enum Load {
    /// A record now and then, and whatever waits with it.
    Live,
    /// A batch after the other.
    Always(LaneClass, usize),
    /// One batch, after the first second.
    Once(LaneClass, usize),
}

/// A batch within the connection.
struct Stream {
    lane: LaneId,
    priority: i32,
    unsent: u64,
    unacked: u64,
    /// None while a part of it is unwritten.
    written: Option<Written>,
    /// When its records were published.
    since: Vec<Duration>,
}

struct Model {
    rate: u64,
    rtt: Duration,
    declared: bool,
    loads: Vec<Load>,
    now: Duration,
    schedule: Schedule,
    backlog: Backlog,
    streams: BTreeMap<u32, Stream>,
    /// The stream that each lane has begun.
    open: BTreeMap<LaneId, u32>,
    begun: u32,
    packets: u64,
    idle: u64,
    acks: VecDeque<(Duration, u32, u64)>,
    /// Records of live lanes that are on offer, and that wait for the next one.
    offered: Vec<Vec<Duration>>,
    waiting: Vec<Vec<Duration>>,
    /// What live records waited before they were sent; when batches were acknowledged, and how long they were.
    delays: Vec<Duration>,
    done: BTreeMap<LaneId, Vec<Duration>>,
    unacked_max: u64,
}

impl Model {
    fn new(rate: u64, rtt_ms: u64, loads: &[Load]) -> Self {
        Self {
            rate,
            rtt: Duration::from_millis(rtt_ms),
            declared: true,
            loads: loads.to_vec(),
            now: Duration::ZERO,
            schedule: Schedule::new(),
            backlog: Backlog::new(),
            streams: BTreeMap::new(),
            open: BTreeMap::new(),
            begun: 0,
            packets: 0,
            idle: 0,
            acks: VecDeque::new(),
            offered: vec![Vec::new(); loads.len()],
            waiting: vec![Vec::new(); loads.len()],
            delays: Vec::new(),
            done: BTreeMap::new(),
            unacked_max: 0,
        }
    }

    fn run(mut self, time: Duration) -> Self {
        let packet_time = Duration::from_nanos(MTU * 1_000_000_000 / self.rate);
        for number in 0..self.loads.len() {
            match self.loads[number] {
                Load::Always(class, len) => self.schedule.offer(lane(number), class, len),
                Load::Live | Load::Once(..) => {}
            }
        }
        let (mut look_at, mut live_at, mut once) = (Duration::ZERO, Duration::ZERO, false);
        while self.now < time {
            if self.now >= live_at {
                live_at += LIVE_INTERVAL;
                self.publish();
            }
            if !once && self.now > Duration::from_secs(1) {
                once = true;
                self.offer_once();
            }
            self.acknowledge();
            if self.now >= look_at {
                look_at = self.now + LOOK;
                self.look();
            }
            self.write();
            self.send();
            self.now += packet_time;
        }
        self
    }

    fn publish(&mut self) {
        for number in 0..self.loads.len() {
            if let Load::Live = self.loads[number] {
                self.waiting[number].push(self.now);
                self.offer_live(number);
            }
        }
    }

    fn offer_live(&mut self, number: usize) {
        if self.offered[number].is_empty() && !self.waiting[number].is_empty() {
            self.offered[number] = std::mem::take(&mut self.waiting[number]);
            let len = self.offered[number].len() * LIVE_LEN;
            self.schedule.offer(lane(number), LaneClass::Live, len);
        }
    }

    fn offer_once(&mut self) {
        for (number, load) in self.loads.iter().enumerate() {
            if let Load::Once(class, len) = load {
                self.schedule.offer(lane(number), *class, *len);
            }
        }
    }

    fn acknowledge(&mut self) {
        while let Some((at, number, len)) = self.acks.front().copied()
            && at <= self.now
        {
            self.acks.pop_front();
            let stream = self.streams.get_mut(&number).expect("unacknowledged");
            stream.unacked -= len;
            if stream.unacked == 0
                && let Some(written) = stream.written.take()
            {
                self.backlog.handle_delivered(written);
                self.done.entry(stream.lane).or_default().push(self.now);
                self.streams.remove(&number);
            }
        }
    }

    fn look(&mut self) {
        self.backlog.handle_path(&PathView {
            rtt: self.rtt,
            window: times(self.rate, self.rtt) * 5 / 2,
            rate: self.declared.then_some(self.rate),
            sent: self.packets * (MTU + HEADS),
            packets_sent: self.packets,
            packets_lost: 0,
            mtu: MTU,
        });
        self.schedule.set_pace(self.backlog.pace());
    }

    fn write(&mut self) {
        while let Some(chunk) = self.schedule.poll_chunk(self.backlog.room()) {
            let index = chunk.lane.0 as usize;
            let class = match self.loads[index] {
                Load::Live => LaneClass::Live,
                Load::Always(class, _) | Load::Once(class, _) => class,
            };
            let number = *self.open.entry(chunk.lane).or_insert_with(|| {
                self.begun += 1;
                let stream = Stream {
                    lane: chunk.lane,
                    priority: stream_priority(class, self.begun),
                    unsent: 0,
                    unacked: 0,
                    written: None,
                    since: std::mem::take(&mut self.offered[index]),
                };
                self.streams.insert(self.begun, stream);
                self.begun
            });
            let stream = self.streams.get_mut(&number).expect("open");
            stream.unsent += chunk.len as u64;
            stream.unacked += chunk.len as u64;
            self.backlog.handle_written(class, chunk.len);
            if chunk.last {
                stream.written = Some(self.backlog.handle_finished(class));
                self.open.remove(&chunk.lane);
                match self.loads[index] {
                    Load::Live => self.offer_live(index),
                    Load::Always(class, len) => self.schedule.offer(chunk.lane, class, len),
                    Load::Once(..) => {}
                }
            }
            assert!(self.backlog.outstanding <= self.backlog.outstanding_max());
        }
        let unacked: u64 = self.streams.values().map(|stream| stream.unacked).sum();
        self.unacked_max = self.unacked_max.max(unacked);
    }

    /// One packet, with bytes of as many batches as fit.
    fn send(&mut self) {
        let mut space = MTU;
        while space > 0 {
            let waiting = self
                .streams
                .iter_mut()
                .filter(|(_, stream)| stream.unsent > 0);
            let Some((number, stream)) = waiting.max_by_key(|(_, stream)| stream.priority) else {
                break;
            };
            let len = stream.unsent.min(space);
            stream.unsent -= len;
            space -= len;
            self.acks.push_back((self.now + self.rtt, *number, len));
            if stream.unsent == 0 && stream.written.is_some() {
                let now = self.now;
                self.delays
                    .extend(stream.since.drain(..).map(|since| now - since));
            }
        }
        self.packets += u64::from(space < MTU);
        self.idle += u64::from(space == MTU && self.now > Duration::from_secs(1));
    }

    /// When the only batch of a lane was acknowledged, in milliseconds since it was offered.
    fn took_ms(&self, number: usize) -> u128 {
        let done = self.done.get(&lane(number)).expect("acknowledged");
        (done[0] - Duration::from_secs(1)).as_millis()
    }

    fn delay_ms(&self, percent: usize) -> u128 {
        let mut delays = self.delays.clone();
        delays.sort();
        delays[(delays.len() - 1) * percent / 100].as_millis()
    }

    fn batches(&self, number: usize) -> usize {
        self.done.get(&lane(number)).map_or(0, Vec::len)
    }
}

fn lane(number: usize) -> LaneId {
    LaneId(number as u32)
}

const RATE: u64 = 1_250_000;
const FOUR_LIVE: [Load; 4] = [Load::Live; 4];
const LARGE: [usize; 4] = [62_500, 200_000, 1 << 20, 8 << 20];

#[test]
fn a_large_batch_takes_what_live_lanes_leave_and_does_not_delay_them() {
    for class in [LaneClass::Bulk, LaneClass::Normal] {
        for (rtt_ms, len) in [10, 100, 300]
            .into_iter()
            .flat_map(|rtt| LARGE.map(|len| (rtt, len)))
        {
            for declared in [true, false] {
                let loads = [&FOUR_LIVE[..], &[Load::Once(class, len)]].concat();
                let mut model = Model::new(RATE, rtt_ms, &loads);
                model.declared = declared;
                let model = model.run(Duration::from_secs(20));
                // Live lanes take 100 kB/s.
                let link_ms = len as u128 * 1000 / (u128::from(RATE) - 110_000);
                let took = model.took_ms(4);
                let bound = link_ms + link_ms / 20 + 2 * u128::from(rtt_ms) + 50;
                assert!(
                    took <= bound,
                    "{class} {len} {rtt_ms} {declared}: {took} ms, not {link_ms}"
                );
                let (half, most) = (model.delay_ms(50), model.delay_ms(100));
                assert!(
                    half <= 5 && most <= 40,
                    "{class} {len} {rtt_ms} {declared}: {half} {most} ms"
                );
            }
        }
    }
}

#[test]
fn floods_of_all_classes_share_the_link_whatever_their_batches() {
    for rtt_ms in [10, 100, 300] {
        for (normal, bulk) in [(62_500, 1 << 20), (1 << 20, 62_500), (1 << 20, 1 << 20)] {
            let loads = [
                &FOUR_LIVE[..],
                &[Load::Always(LaneClass::Normal, normal); 2],
                &[Load::Always(LaneClass::Bulk, bulk); 2],
            ]
            .concat();
            let model = Model::new(RATE, rtt_ms, &loads).run(Duration::from_secs(60));
            let bytes = |number: usize, len: usize| model.batches(number) * len;
            let ours = bytes(6, bulk) + bytes(7, bulk);
            let share = ours * 100 / (ours + bytes(4, normal) + bytes(5, normal));
            let seen = format!("{rtt_ms} {normal} {bulk}: {share} %, idle {}", model.idle);
            assert!((18..=30).contains(&share), "{seen}");
            // Where the large batch is three times what the path holds; nothing otherwise.
            assert!(model.idle * 50 < model.packets, "{seen}");
            assert!(
                model.delay_ms(100) <= 5,
                "{seen}, {} ms",
                model.delay_ms(100)
            );
            // What the path holds, and not every large batch that is on offer.
            let bound = times(RATE, model.rtt) * 2 + 2 * normal.max(bulk) as u64;
            assert!(model.unacked_max <= bound, "{seen}, {}", model.unacked_max);
        }
    }
}

/// Most of what a bulk route has when it is current: one batch, and then nothing.
#[test]
fn a_lone_bulk_batch_is_not_kept_waiting_by_normal_lanes_without_end() {
    for rtt_ms in [10, 100, 300] {
        for len in [2_000, 62_500, 1 << 20] {
            let mut loads = vec![Load::Always(LaneClass::Normal, 62_500); 2];
            loads.push(Load::Once(LaneClass::Bulk, len));
            let model = Model::new(RATE, rtt_ms, &loads).run(Duration::from_secs(40));
            let link_ms = len as u128 * 1000 / u128::from(RATE);
            // A quarter of the link, and what was written before it.
            let bound = link_ms * 5 + 2 * model.rtt.as_millis() + 200;
            let took = model.took_ms(2);
            assert!(took <= bound, "{rtt_ms} {len}: {took} ms of {bound}");
        }
    }
}
