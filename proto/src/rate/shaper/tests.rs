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
    let mut now = from;
    let mut left = Vec::new();
    while now < end {
        for (flow, bytes) in flows {
            while shaper.has_room(*flow) {
                shaper.push(*flow, *bytes, *bytes);
            }
        }
        match shaper.poll(now) {
            Step::Send(flow, bytes) => left.push((now, flow, bytes)),
            Step::Wait(until) => now = until,
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

proptest! {
    /// The bound of a link, over every pair of packets, whatever its flows send and are paced to.
    #[test]
    fn a_link_keeps_its_bound(
        rate in 50_000u64..100_000_000,
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
        let left = run(&mut shaper, &flows, Duration::ZERO, end);
        for first in 0..left.len() {
            let mut bytes = 0;
            for (at, _, size) in &left[first..] {
                bytes += u128::from(*size);
                let t = (*at - left[first].0).as_nanos();
                prop_assert!(bytes * 8_000_000_000 <= t * u128::from(rate) + u128::from(2 * MTU) * 8_000_000_000);
            }
        }
    }
}
