use super::*;
use proptest::prelude::*;

fn settings(mode: Mode, ceiling: Option<u64>) -> Settings {
    Settings {
        mode,
        ceiling,
        rtt: Duration::from_millis(100),
        mtu: 1452,
        headers: 28,
    }
}

proptest! {
    /// Whatever a path or a peer does, the rate stays between floor and ceiling, and something may be sent.
    #[test]
    fn the_rate_keeps_its_bounds(
        mode in prop_oneof![Just(Mode::Declared), Just(Mode::Adaptive), Just(Mode::Scavenger)],
        ceiling in proptest::option::of(1u64..10_000_000_000),
        events in proptest::collection::vec(
            (0u64..2_000_000, 0u64..3_000_000, 1u64..65_000, any::<bool>(), any::<bool>()),
            1..400,
        ),
    ) {
        let mut control = Control::new(settings(mode, ceiling), Duration::ZERO);
        let mut now = Duration::ZERO;
        for (passed, flight, bytes, idle, lost) in events {
            now += Duration::from_micros(passed);
            let sent = now.saturating_sub(Duration::from_micros(flight));
            control.handle_sent(bytes);
            if lost {
                control.handle_loss(sent, bytes);
            } else {
                control.handle_ack(now, sent, bytes, idle);
            }
            prop_assert!(control.rate() >= control.floor());
            prop_assert!(control.rate() <= control.ceiling());
            prop_assert!(control.pace() <= control.ceiling());
            prop_assert!(control.pace() >= control.floor());
            prop_assert!(control.window() >= 20 * 1452);
            prop_assert!(control.window() <= WINDOW_MAX);
        }
    }
}

#[test]
fn loss_without_delay_changes_nothing_for_long() {
    let mut control = Control::new(settings(Mode::Declared, Some(10_000_000)), Duration::ZERO);
    let (mut slow, mut all) = (0, 0);
    for packet in 0u64..60_000 {
        let sent = Duration::from_millis(packet);
        // A tenth dies, whatever the rate.
        if packet % 10 == 0 {
            control.handle_loss(sent, 1452);
        } else {
            control.handle_ack(sent + Duration::from_millis(100), sent, 1452, false);
        }
        all += 1;
        slow += u32::from(control.rate() < 10_000_000);
    }
    assert!(slow * 10 < all, "{slow} of {all}");
    assert_eq!(control.rate(), 10_000_000);
}

#[test]
fn a_ceiling_lowered_and_raised_is_taken_at_once() {
    let mut control = Control::new(settings(Mode::Declared, Some(10_000_000)), Duration::ZERO);
    control.set(Duration::from_secs(1), Mode::Declared, Some(1_000_000));
    assert_eq!(control.rate(), 1_000_000);
    control.set(Duration::from_secs(2), Mode::Declared, Some(20_000_000));
    assert_eq!(control.rate(), 20_000_000);
    control.set(Duration::from_secs(3), Mode::Scavenger, Some(5_000_000));
    assert_eq!(control.rate(), 5_000_000);
}
