//! What a scrape says of a link, of its rate and of its month.

use super::{
    CAP, CAP_REACHED, CAP_RESETS, CAP_USED, CAP_WARNING, LINK_LOST, LINK_RATE, LINK_RATE_IN_USE,
    LINK_RATE_REASON, LINK_RECEIVED, LINK_RECONNECTS, LINK_RTT, LINK_SENT, LINK_UP,
    LINK_WIRE_PACKETS, LINK_WIRE_SENT, RESIDENCY_SKEW, Scrape, Value, flag,
};
use crate::status::{CapStatus, LinkRateReport, LinkReport, LinkState, RateReason};

impl Scrape<'_> {
    pub(super) fn link(&self, link: &LinkReport) {
        let (link, rate) = (&link.status, &link.rate);
        let labels: &[Value] = &[link.peer.to_string().into()];
        let is_up = link.state == LinkState::Up;
        self.set(LINK_UP, labels, flag(is_up));
        self.set_known(
            LINK_RTT,
            labels,
            link.rtt_ms.filter(|_| is_up).map(|rtt| rtt / 1e3),
        );
        self.count(LINK_SENT, labels, link.sent_bytes);
        self.count(LINK_RECEIVED, labels, link.received_bytes);
        self.count(LINK_LOST, labels, link.lost_packets);
        self.count(LINK_RECONNECTS, labels, link.reconnects);
        self.set(RESIDENCY_SKEW, labels, flag(link.residency_skew));
        if let Some(rate) = rate {
            self.link_rate(rate, labels);
        }
    }

    fn link_rate(&self, link: &LinkRateReport, labels: &[Value]) {
        let known = |rate: Option<u64>| rate.map(|bits| bits as f64);
        self.count(LINK_WIRE_SENT, labels, link.wire_sent_bytes);
        self.count(LINK_WIRE_PACKETS, labels, link.wire_sent_packets);
        self.set_known(LINK_RATE, labels, known(link.rate.bits_per_second));
        self.set_known(LINK_RATE_IN_USE, labels, known(link.in_use_bits_per_second));
        let status = &link.rate.status;
        let reasons = RateReason::ALL.map(|it| (it.as_str(), it == status.reason));
        self.set_which(LINK_RATE_REASON, labels, reasons);
        if let Some(cap) = &status.cap {
            self.cap(cap, labels);
        }
    }

    fn cap(&self, cap: &CapStatus, labels: &[Value]) {
        self.set(CAP, labels, cap.limit_bytes as f64);
        self.set(CAP_USED, labels, cap.used_bytes as f64);
        self.set(CAP_WARNING, labels, flag(cap.state != "below"));
        self.set(CAP_REACHED, labels, flag(cap.state == "reached"));
        self.set(CAP_RESETS, labels, cap.resets_at);
    }
}
