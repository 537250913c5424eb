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

#[test]
fn what_a_source_does_not_send_in_a_drain_is_not_taken_for_a_narrow_path() {
    const RATE: u64 = 20_000_000;
    let mut control = Control::new(settings(Mode::Declared, Some(RATE)), Duration::ZERO);
    let (mut now, mut drains) = (Duration::ZERO, 0);
    while now < Duration::from_secs(20) {
        let was_draining = matches!(control.phase, Phase::Draining { .. });
        // The source has half of the rate to send, and in a drain two fifths of what it may.
        let share = if was_draining { 40 } else { 100 };
        let rate = control.rate().min(RATE / 2) * share / 100;
        let sent = now;
        now += Duration::from_nanos(1480 * 8 * 1_000_000_000 / rate);
        // After two seconds others fill the path, whatever we do.
        let queue = if sent > Duration::from_secs(2) { 60 } else { 0 };
        let flight = Duration::from_millis(100 + queue);
        control.handle_ack(sent + flight, sent, 1452, false);
        drains += u32::from(!was_draining && matches!(control.phase, Phase::Draining { .. }));
        assert!(
            control.rate() > RATE / 8,
            "{} after {now:?}",
            control.rate()
        );
    }
    assert!(drains > 0, "no queue was suspected");
    assert!(control.rate() > RATE / 4 * 3, "{}", control.rate());
}
