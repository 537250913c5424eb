//! Whether anything still arrives on a connection.

use std::time::Duration;

use causeway_proto::error::CloseReason;
use quinn::Connection;
use tokio::time::{MissedTickBehavior, interval};

use super::connection::close;

/// Without a single datagram for so long the path is taken for cut; the dialler tries anew.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// The same in round trips, where they are long.
const SILENCE_ROUND_TRIPS: u32 = 3;
const TICK: Duration = Duration::from_millis(500);

/// Closes a connection on which nothing has arrived for [`SILENCE_MAX`], although keep-alives made
/// the peer answer each second. Bytes that move, however slowly, keep it.
pub(super) async fn watch_pulse(connection: Connection) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulse = Pulse::default();
    while connection.close_reason().is_none() {
        tick.tick().await;
        let datagrams = connection.stats().udp_rx.datagrams;
        if pulse.is_lost(datagrams, connection.rtt()) {
            return close(&connection, CloseReason::PeerSilent);
        }
    }
}

/// Counts ticks, not the clock: a process that stood still for seconds has one tick of silence, and until
/// the next one its socket is read.
#[derive(Debug, Default)]
struct Pulse {
    datagrams: u64,
    silence: Duration,
}

impl Pulse {
    /// Asked with each tick.
    fn is_lost(&mut self, datagrams: u64, rtt: Duration) -> bool {
        if datagrams != self.datagrams {
            (self.datagrams, self.silence) = (datagrams, Duration::ZERO);
            return false;
        }
        self.silence += TICK;
        self.silence >= SILENCE_MAX.max(rtt * SILENCE_ROUND_TRIPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many ticks of silence a pulse bears, at most a hundred.
    fn borne(pulse: &mut Pulse, rtt: Duration) -> usize {
        let datagrams = pulse.datagrams;
        (0..100)
            .take_while(|_| !pulse.is_lost(datagrams, rtt))
            .count()
    }

    #[test]
    fn silence_is_counted_in_ticks_and_ends_with_a_datagram() {
        let near = Duration::from_millis(80);
        let mut pulse = Pulse::default();
        assert!(!pulse.is_lost(1, near));
        for datagrams in 2..5 {
            for _ in 0..7 {
                assert!(!pulse.is_lost(datagrams - 1, near));
            }
            assert!(!pulse.is_lost(datagrams, near));
        }
        assert_eq!(
            borne(&mut pulse, near),
            7,
            "lost with the eighth, after 4 s"
        );
    }

    #[test]
    fn a_far_peer_may_be_silent_for_three_round_trips() {
        let mut pulse = Pulse::default();
        assert_eq!(borne(&mut pulse, Duration::from_secs(2)), 11);
    }
}
