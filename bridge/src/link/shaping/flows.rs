//! What waits, of whom, and under which rates.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use causeway_proto::rate::{FlowKey, LinkKey, Shaper, Step};
use quinn::udp::Transmit;

use super::wire::{Made, Packet, Wire};
use crate::link::rate::{DeclaredRate, Pace, headers};

/// Largest IP packet of a link that declares none: what quinn finds by itself, with headers.
const PACKET_MAX: u64 = 1480;

#[derive(Debug)]
struct Flow {
    pace: Arc<Pace>,
    wire: Arc<Wire>,
    destination: Option<SocketAddr>,
    is_known: bool,
    /// What it pushed before its link was known.
    unknown_bytes: u64,
    waker: Option<Waker>,
}

/// Every flow of a host.
#[derive(Debug)]
pub(super) struct Flows {
    shaper: Shaper<Packet>,
    host: DeclaredRate,
    /// Flows whose link is not known yet: handshakes. Under the host's rate alone.
    strangers: LinkKey,
    links: Vec<(DeclaredRate, LinkKey)>,
    flows: HashMap<FlowKey, Flow>,
}

impl Flows {
    pub(super) fn new(host: DeclaredRate) -> Self {
        let mut shaper = Shaper::new(host.get(), Duration::ZERO);
        let strangers = shaper.add_link(Duration::ZERO, None, PACKET_MAX);
        Self {
            shaper,
            host,
            strangers,
            links: Vec::new(),
            flows: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, now: Duration, wire: &Arc<Wire>, pace: Arc<Pace>) -> FlowKey {
        let key = self.shaper.add_flow(now, self.strangers);
        let flow = Flow {
            pace,
            wire: Arc::clone(wire),
            destination: None,
            is_known: false,
            unknown_bytes: 0,
            waker: None,
        };
        self.flows.insert(key, flow);
        key
    }

    pub(super) fn remove(&mut self, key: FlowKey) {
        self.flows.remove(&key);
        self.shaper.remove_flow(key);
    }

    pub(super) fn has_room(&self, key: FlowKey) -> bool {
        self.shaper.has_room(key)
    }

    /// Wakes somebody when the flow has room.
    pub(super) fn wake_with(&mut self, key: FlowKey, waker: &Waker) {
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.waker = Some(waker.clone());
        }
    }

    /// The flow to that address.
    pub(super) fn of_peer(&self, address: SocketAddr) -> Option<FlowKey> {
        let mut flows = self.flows.iter();
        flows
            .find(|(_, flow)| flow.destination == Some(address))
            .map(|(key, _)| *key)
    }

    /// Datagrams that quinn may make in one go, so that no flow of this socket, but for that one, decides too early.
    pub(super) fn depth(&self, wire: &Arc<Wire>, except: FlowKey) -> u64 {
        let flows = self.flows.iter();
        flows
            .filter(|(key, flow)| **key != except && Arc::ptr_eq(&flow.wire, wire))
            .map(|(key, _)| self.shaper.depth(*key))
            .min()
            .unwrap_or(1)
    }

    /// Takes what quinn made. `true`: nothing of the flow was waiting.
    pub(super) fn push(&mut self, key: FlowKey, transmit: &Transmit<'_>) -> bool {
        let Some(flow) = self.flows.get_mut(&key) else {
            return false;
        };
        flow.destination = Some(transmit.destination);
        flow.pace.count_sent(transmit);
        let (mut is_first, mut total) = (false, 0);
        for packet in Made::new(&flow.wire, transmit).packets() {
            let len = packet.len() as u64 + headers(transmit.destination);
            total += len;
            is_first |= self.shaper.push(key, len, packet);
        }
        if !flow.is_known {
            flow.unknown_bytes += total;
        }
        is_first
    }

    /// What to do now.
    pub(super) fn poll(&mut self, now: Duration) -> Step<Packet> {
        self.shaper.poll(now)
    }

    /// All that was to be sent has left.
    pub(super) fn settle(&mut self, now: Duration) {
        self.shaper.settle(now);
    }

    /// Takes over what controllers, handshakes and operators have changed.
    pub(super) fn refresh(&mut self, now: Duration) {
        self.shaper.set_host_rate(now, self.host.get());
        for (rate, link) in &self.links {
            self.shaper.set_link_rate(now, *link, rate.get());
        }
        for (key, flow) in &mut self.flows {
            if !flow.is_known
                && let Some(rate) = flow.pace.link()
            {
                flow.is_known = true;
                let found = self.links.iter().find(|(other, _)| other.is(rate));
                let link = found.map(|(_, link)| *link).unwrap_or_else(|| {
                    let link = self.shaper.add_link(now, rate.get(), PACKET_MAX);
                    self.links.push((rate.clone(), link));
                    link
                });
                self.shaper.move_flow(*key, link);
                self.shaper.charge(now, link, flow.unknown_bytes);
            }
            self.shaper.set_pace(now, *key, flow.pace.get());
        }
    }

    /// Gives out who waited for room and has it now.
    pub(super) fn take_woken(&mut self, woken: &mut Vec<Waker>) {
        for (key, flow) in &mut self.flows {
            if flow.waker.is_some() && self.shaper.has_room(*key) {
                woken.extend(flow.waker.take());
            }
        }
    }
}
