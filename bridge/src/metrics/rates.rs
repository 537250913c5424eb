//! What a scrape says of a link's rate and of its month.

use super::{
    CAP, CAP_REACHED, CAP_RESETS, CAP_USED, CAP_WARNING, LINK_RATE, LINK_RATE_IN_USE,
    LINK_RATE_REASON, LINK_WIRE_PACKETS, LINK_WIRE_SENT, Scrape, Value, flag,
};
use crate::status::{CapStatus, LinkRateReport, RateReason};

impl Scrape<'_> {
    pub(super) fn link_rate(&self, link: &LinkRateReport, labels: &[Value]) {
        let known = |rate: Option<u64>| rate.map(|bits| bits as f64);
        self.count(LINK_WIRE_SENT, labels, link.wire_sent_bytes);
        self.count(LINK_WIRE_PACKETS, labels, link.wire_sent_packets);
        self.set_known(LINK_RATE, labels, known(link.rate.bits_per_second));
        self.set_known(LINK_RATE_IN_USE, labels, known(link.in_use_bits_per_second));
        let status = &link.rate.status;
        for reason in RateReason::ALL {
            let labels = [labels, &[reason.as_str().into()]].concat();
            self.set(LINK_RATE_REASON, &labels, flag(status.reason == reason));
        }
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
