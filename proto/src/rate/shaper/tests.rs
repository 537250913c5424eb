use super::*;
use proptest::prelude::*;

const MTU: u64 = 1480;

/// Runs until `end`, keeping the given flows full with packets of their size, and says what left when.
fn run(
    shaper: &mut Shaper<u64>,
    flows: &[(FlowKey, u64)],
    from: Duration,
    end: Duration,
) -> Vec<(Duration, FlowKey, u64)> {
    run_late(shaper, flows, from, end, [Duration::ZERO; 2])
}

/// The same, asking `late` whenever it was told to wait. To send takes a while: the packets leave at its beginning and at
/// its end in turn.
fn run_late(
    shaper: &mut Shaper<u64>,
    flows: &[(FlowKey, u64)],
    from: Duration,
    end: Duration,
    [late, takes]: [Duration; 2],
) -> Vec<(Duration, FlowKey, u64)> {
    let mut now = from;
    let mut left = Vec::new();
    while now < end {
        for (flow, bytes) in flows {
            while shaper.has_room(*flow) {
                shaper.push(*flow, *bytes, *bytes);
            }
        }
        match shaper.poll(now) {
            Step::Send(flow, bytes) => {
                let after = takes * (left.len() % 2) as u32;
                left.push((now + after, flow, bytes));
                now += takes;
                shaper.settle(now);
            }
            Step::Wait(until) => now = until + late,
            Step::Idle => break,
        }
    }
    left
}

fn share(left: &[(Duration, FlowKey, u64)], of: FlowKey) -> u64 {
    left.iter()
        .filter(|(_, flow, _)| *flow == of)
        .map(|(_, _, bytes)| bytes)
        .sum()
}

#[test]
fn links_under_a_host_share_its_rate_and_keep_their_own() {
    let mut shaper = Shaper::new(Some(10_000_000), Duration::ZERO);
    let slow = shaper.add_link(Duration::ZERO, Some(1_000_000), MTU);
    let fast = shaper.add_link(Duration::ZERO, Some(20_000_000), MTU);
    let flows = [slow, fast].map(|link| (shaper.add_flow(Duration::ZERO, link), MTU));
    let left = run(&mut shaper, &flows, Duration::ZERO, Duration::from_secs(10));
    let (of_slow, of_fast) = (share(&left, flows[0].0), share(&left, flows[1].0));
    assert!(
        (1_240_000..=1_250_000 + 2 * MTU).contains(&of_slow),
        "{of_slow}"
    );
    let all = of_slow + of_fast;
    assert!((12_400_000..=12_503_000).contains(&all), "{all}");
}

#[test]
fn a_rate_changes_while_packets_wait() {
    let mut shaper = Shaper::new(None, Duration::ZERO);
    let link = shaper.add_link(Duration::ZERO, Some(50_000), MTU);
    let flow = [(shaper.add_flow(Duration::ZERO, link), MTU)];
    let slow = run(&mut shaper, &flow, Duration::ZERO, Duration::from_secs(10));
    assert!(share(&slow, flow[0].0) <= 62_500 + 2 * MTU);
    shaper.set_link_rate(Duration::from_secs(10), link, Some(5_000_000));
    let fast = run(
        &mut shaper,
        &flow,
        Duration::from_secs(10),
        Duration::from_secs(20),
    );
    let bytes = share(&fast, flow[0].0);
    assert!(
        (6_200_000..=6_250_000 + 2 * MTU).contains(&bytes),
        "{bytes}"
    );
}

#[test]
fn small_packets_do_not_starve_large_ones() {
    let mut shaper = Shaper::new(None, Duration::ZERO);
    let link = shaper.add_link(Duration::ZERO, Some(1_000_000), MTU);
    let flows = [60, MTU].map(|bytes| (shaper.add_flow(Duration::ZERO, link), bytes));
    let left = run(&mut shaper, &flows, Duration::ZERO, Duration::from_secs(2));
    assert!(share(&left, flows[1].0) > 200_000);
}

/// Acks of a fast backlog can be more than what a controller allows the other direction; data there must not wait for
/// all of them.
#[test]
fn small_packets_above_the_pace_hold_up_a_large_one_for_a_moment_only() {
    let ms = Duration::from_millis;
    let mut shaper = Shaper::new(None, Duration::ZERO);
    let link = shaper.add_link(Duration::ZERO, None, MTU);
    let flow = shaper.add_flow(Duration::ZERO, link);
    shaper.set_pace(Duration::ZERO, flow, Some(100_000));
    for at in 0..60_000 {
        shaper.push(flow, 100, 100);
        assert!(matches!(shaper.poll(ms(at)), Step::Send(_, 100)));
        shaper.settle(ms(at));
    }
    shaper.push(flow, MTU, MTU);
    let Step::Wait(until) = shaper.poll(ms(60_000)) else {
        panic!("the pace is used up");
    };
    assert!(until < ms(60_500), "{until:?}");
    assert!(matches!(shaper.poll(until), Step::Send(_, MTU)));
}

#[test]
fn what_a_removed_flow_had_waiting_goes_with_it() {
    let mut shaper = Shaper::new(None, Duration::ZERO);
    let link = shaper.add_link(Duration::ZERO, Some(1_000), MTU);
    let flow = shaper.add_flow(Duration::ZERO, link);
    (0..4).for_each(|n| assert_eq!(shaper.push(flow, MTU, n), n == 0));
    shaper.remove_flow(flow);
    let other = shaper.add_flow(Duration::ZERO, link);
    assert!(matches!(shaper.poll(Duration::ZERO), Step::Idle));
    shaper.push(flow, MTU, 9);
    assert!(
        matches!(shaper.poll(Duration::ZERO), Step::Idle),
        "a stale key names nothing"
    );
    shaper.push(other, MTU, 5);
    assert!(matches!(shaper.poll(Duration::ZERO), Step::Send(key, 5) if key == other));
}

/// A flow of full packets on a link of that rate, whose sleeper is `late` by so many microseconds each time, and `takes` some
/// to send what may leave then; the flow is always full, or stops every now and then. Says what left, and how often the sleeper woke.
fn sleep_through(rate: u64, [late, takes]: [u64; 2], is_full: bool) -> (u64, u64) {
    let mut shaper = Shaper::new(None, Duration::ZERO);
    let link = shaper.add_link(Duration::ZERO, Some(rate), MTU);
    let flow = shaper.add_flow(Duration::ZERO, link);
    let (mut now, mut wakes, mut left, mut pushed) = (Duration::ZERO, 0, 0, 0);
    let [late, takes] = [late, takes].map(Duration::from_micros);
    let mut sending = None;
    while now < Duration::from_secs(2) {
        while shaper.has_room(flow) && (is_full || pushed % 40 != 39) {
            shaper.push(flow, MTU, ());
            pushed += 1;
        }
        match shaper.poll(now) {
            Step::Send(..) => {
                left += MTU;
                sending = Some(takes);
            }
            Step::Wait(_) | Step::Idle if sending.is_some() => {
                now += sending.take().unwrap_or_default();
                shaper.settle(now);
            }
            Step::Wait(until) => {
                now = until + late;
                wakes += 1;
            }
            Step::Idle => {
                pushed += 1;
                now += Duration::from_millis(5);
            }
        }
    }
    (left, wakes)
}

#[test]
fn packets_that_follow_closely_leave_together() {
    for (rate, together) in [(5_000_000, 1), (100_000_000, 2), (200_000_000, 3)] {
        let (left, wakes) = sleep_through(rate, [0; 2], true);
        let packets = left / MTU;
        assert!(
            wakes * together <= packets + 3,
            "{rate}: {wakes} for {packets}"
        );
        assert!(
            packets <= wakes * together + 3,
            "{rate}: {wakes} for {packets}"
        );
    }
}

#[test]
fn a_late_sleeper_loses_twenty_milliseconds_of_a_backlog_and_no_more() {
    for rate in [5_000_000, 100_000_000, 200_000_000, 1_000_000_000] {
        let (left, _) = sleep_through(rate, [40, 20], true);
        let all = rate / 8 * 2;
        let lost = rate / 8 / 45;
        assert!(left + lost + 2 * MTU >= all, "{rate}: {left} of {all}");
    }
}

#[test]
fn a_backlog_whose_next_packets_come_a_moment_late_is_still_one() {
    let rate = 100_000_000;
    let mut shaper = Shaper::new(None, Duration::ZERO);
    let link = shaper.add_link(Duration::ZERO, Some(rate), MTU);
    let flow = shaper.add_flow(Duration::ZERO, link);
    let (mut now, mut left) = (Duration::ZERO, 0);
    while now < Duration::from_secs(2) {
        match shaper.poll(now) {
            Step::Send(..) => {
                left += MTU;
                shaper.settle(now);
            }
            Step::Wait(until) => now = until + Duration::from_micros(40),
            Step::Idle => {
                now += Duration::from_micros(20);
                for _ in 0..shaper.depth(flow) {
                    shaper.push(flow, MTU, ());
                }
            }
        }
    }
    let (all, lost) = (rate / 8 * 2, rate / 8 / 45);
    assert!(left + lost + 2 * MTU >= all, "{left} of {all}");
}

#[test]
fn where_the_backlog_ends_now_and_then_late_packets_go_on_leaving_together() {
    let (left, wakes) = sleep_through(100_000_000, [15, 5], false);
    let packets = left / MTU;
    assert!(wakes * 3 <= packets * 2, "{wakes} for {packets}");
    let (left, wakes) = sleep_through(100_000_000, [15, 5], true);
    let packets = left / MTU;
    assert!(wakes * 10 >= packets * 9, "{wakes} for {packets}");
}

proptest! {
    /// The bound of a link, over every pair of packets, whatever its flows send and are paced to.
    #[test]
    fn a_link_keeps_its_bound(
        rate in prop_oneof![50_000u64..100_000_000, 80_000_000u64..1_000_000_000],
        late in [0u64..60_000, 0u64..300_000],
        sizes in proptest::collection::vec((40u64..=MTU, proptest::option::of(50_000u64..200_000_000)), 1..5),
    ) {
        let mut shaper = Shaper::new(None, Duration::ZERO);
        let link = shaper.add_link(Duration::ZERO, Some(rate), MTU);
        let flows: Vec<_> = sizes.iter().map(|(bytes, pace)| {
            let flow = shaper.add_flow(Duration::ZERO, link);
            shaper.set_pace(Duration::ZERO, flow, *pace);
            (flow, *bytes)
        }).collect();
        let end = Duration::from_secs_f64(2_000_000.0 / rate as f64);
        let left = run_late(&mut shaper, &flows, Duration::ZERO, end, late.map(Duration::from_nanos));
        let most = u128::from((rate / 8 / 5000).max(2 * MTU));
        for first in 0..left.len() {
            let mut bytes = 0;
            for (at, _, size) in &left[first..] {
                bytes += u128::from(*size);
                let t = (*at - left[first].0).as_nanos();
                prop_assert!(bytes * 8_000_000_000 <= t * u128::from(rate) + most * 8_000_000_000);
            }
        }
    }
}
