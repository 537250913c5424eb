//! What the schedule promises, for any offers: fairness by weight, the live share, no starvation, and
//! no idle link while anything is on offer.

use proptest::prelude::*;

use super::*;

const ROOM: Room = Room {
    any: u64::MAX / 4,
    live: u64::MAX / 4,
};
const LIVE_ONLY: Room = Room { any: 0, live: 1 };
const NONE: Room = Room { any: 0, live: 0 };

fn lane(number: u32) -> LaneId {
    LaneId(number)
}

/// Lanes that always have another batch: takes `chunks` and counts the bytes of each lane.
fn saturate(lanes: &[(LaneClass, usize)], chunks: usize) -> Vec<u64> {
    let mut schedule = Schedule::new();
    let mut sent = vec![0; lanes.len()];
    for (number, (class, len)) in lanes.iter().enumerate() {
        schedule.offer(lane(number as u32), *class, *len);
    }
    for _ in 0..chunks {
        let chunk = schedule.poll_chunk(ROOM).expect("all lanes have more");
        let number = chunk.lane.0 as usize;
        sent[number] += chunk.len as u64;
        if chunk.last {
            let (class, len) = lanes[number];
            schedule.offer(chunk.lane, class, len);
        }
    }
    sent
}

fn class_sums(lanes: &[(LaneClass, usize)], sent: &[u64]) -> [u64; CLASSES] {
    let mut sums = [0; CLASSES];
    for ((class, _), bytes) in lanes.iter().zip(sent) {
        sums[usize::from(class.code())] += bytes;
    }
    sums
}

fn any_class() -> impl Strategy<Value = LaneClass> {
    prop::sample::select(LaneClass::ALL)
}

#[test]
fn a_batch_leaves_whole_in_chunks_that_end_with_the_last() {
    let mut schedule = Schedule::new();
    let len = 2 * Pace::default().chunk_len_max + 5;
    schedule.offer(lane(1), LaneClass::Normal, len);
    let chunks: Vec<_> = std::iter::from_fn(|| schedule.poll_chunk(ROOM)).collect();
    assert_eq!(chunks.iter().map(|chunk| chunk.len).sum::<usize>(), len);
    assert_eq!(chunks.iter().filter(|chunk| chunk.last).count(), 1);
    assert!(chunks.last().expect("some").last);
    assert!(schedule.is_empty());
}

#[test]
fn a_fresh_record_passes_a_backlog_even_where_only_the_reserve_is_left() {
    let mut schedule = Schedule::new();
    schedule.offer(lane(1), LaneClass::Bulk, 1 << 20);
    assert_eq!(
        schedule.poll_chunk(LIVE_ONLY),
        None,
        "no room for a backlog"
    );
    schedule.offer(lane(2), LaneClass::Live, 300);
    let chunk = schedule.poll_chunk(LIVE_ONLY).expect("live may");
    assert_eq!((chunk.lane, chunk.len, chunk.last), (lane(2), 300, true));
}

#[test]
fn without_room_nothing_leaves() {
    let mut schedule = Schedule::new();
    schedule.offer(lane(1), LaneClass::Live, 10);
    schedule.offer(lane(2), LaneClass::Bulk, 10);
    assert_eq!(schedule.poll_chunk(NONE), None);
    assert_eq!(schedule.offered(), 20);
}

#[test]
fn a_withdrawn_batch_is_gone() {
    let mut schedule = Schedule::new();
    schedule.offer(lane(1), LaneClass::Bulk, 1 << 20);
    schedule.poll_chunk(ROOM);
    schedule.withdraw(lane(1));
    schedule.withdraw(lane(7));
    assert!(schedule.is_empty());
    assert_eq!(schedule.poll_chunk(ROOM), None);
}

#[test]
fn a_flood_of_live_bytes_leaves_a_backlog_its_weight_of_what_the_share_leaves() {
    let lanes = [(LaneClass::Live, 50_000), (LaneClass::Bulk, 50_000)];
    let sent = saturate(&lanes, 40_000);
    let bulk = sent[1] as f64 / (sent[0] + sent[1]) as f64;
    // 70 % shared 3 : 1.
    assert!((0.165..0.185).contains(&bulk), "{bulk}");
}

#[test]
fn live_lanes_within_their_share_wait_for_nobody() {
    let mut schedule = Schedule::new();
    schedule.offer(lane(1), LaneClass::Bulk, 1 << 30);
    schedule.offer(lane(2), LaneClass::Normal, 1 << 30);
    let (mut live, mut rest) = (0, 0);
    for _ in 0..10_000 {
        // A quarter of the bytes are live.
        if live * 3 < rest {
            schedule.offer(lane(3), LaneClass::Live, 700);
            let chunk = schedule.poll_chunk(ROOM).expect("more");
            assert_eq!(chunk.lane, lane(3));
            live += chunk.len;
        } else {
            rest += schedule.poll_chunk(ROOM).expect("more").len;
        }
    }
    assert!(live > 1_000_000);
}

#[test]
fn what_was_lent_is_not_claimed_back() {
    let mut schedule = Schedule::new();
    schedule.offer(lane(1), LaneClass::Bulk, 1 << 40);
    for _ in 0..10_000 {
        schedule.poll_chunk(ROOM);
    }
    schedule.offer(lane(2), LaneClass::Normal, 1 << 40);
    let mut bulk = 0;
    for _ in 0..400 {
        bulk += u32::from(schedule.poll_chunk(ROOM).expect("more").lane == lane(1));
    }
    assert!((95..=105).contains(&bulk), "{bulk} of 400 turns at 3 : 1");
}

proptest! {
    #[test]
    fn lanes_of_a_class_share_equally_whatever_their_batches(
        class in any_class(),
        lens in prop::collection::vec(1_usize..200_000, 2..12),
    ) {
        let lanes: Vec<_> = lens.iter().map(|len| (class, *len)).collect();
        let sent = saturate(&lanes, 4_000);
        let (least, most) = (sent.iter().min(), sent.iter().max());
        let gap = most.expect("lanes") - least.expect("lanes");
        let largest = lens.iter().max().expect("lanes") + Pace::default().chunk_len_max;
        prop_assert!(gap <= 2 * largest as u64, "{sent:?}");
    }

    #[test]
    fn classes_share_by_weight_what_strict_priority_leaves(
        normal in prop::collection::vec(1_usize..200_000, 1..6),
        bulk in prop::collection::vec(1_usize..200_000, 1..6),
    ) {
        let lanes: Vec<_> = normal.iter().map(|len| (LaneClass::Normal, *len))
            .chain(bulk.iter().map(|len| (LaneClass::Bulk, *len)))
            .collect();
        let sums = class_sums(&lanes, &saturate(&lanes, 4_000));
        let gap = sums[1].abs_diff(sums[2] * WEIGHT_NORMAL / WEIGHT_BULK);
        prop_assert!(gap <= 8 * Pace::default().chunk_len_max as u64, "{sums:?}");
    }

    #[test]
    fn no_class_is_starved_and_live_never_exceeds_its_bound(
        lanes in prop::collection::vec((any_class(), 1_000_usize..100_000), 3..12),
    ) {
        let sums = class_sums(&lanes, &saturate(&lanes, 8_000));
        let total: u64 = sums.iter().sum();
        let present = |class: LaneClass| lanes.iter().any(|(of, _)| *of == class);
        for class in LaneClass::ALL {
            if present(*class) {
                let share = sums[usize::from(class.code())] * 100 / total;
                prop_assert!(share >= 8, "{class} has {share} % of {sums:?}");
            }
        }
        if present(LaneClass::Bulk) && present(LaneClass::Normal) && present(LaneClass::Live) {
            // 30 % strictly and three sevenths of the rest.
            prop_assert!(sums[LIVE] * 100 / total <= 61, "{sums:?}");
        }
    }

    #[test]
    fn nothing_idles_while_anything_is_on_offer_and_every_byte_leaves_once(
        offers in prop::collection::vec((0_u32..6, any_class(), 1_usize..60_000), 1..60),
        polls in 0_usize..5,
    ) {
        let mut schedule = Schedule::new();
        let (mut offered, mut left) = ([0_usize; 6], [0_usize; 6]);
        let mut sent = [0_usize; 6];
        let mut take = |schedule: &mut Schedule, left: &mut [usize; 6]| {
            let Some(chunk) = schedule.poll_chunk(ROOM) else { return false };
            let number = chunk.lane.0 as usize;
            sent[number] += chunk.len;
            left[number] -= chunk.len;
            assert_eq!(chunk.last, left[number] == 0);
            true
        };
        for (number, class, len) in offers {
            let index = number as usize;
            if left[index] == 0 {
                schedule.offer(lane(number), class, len);
                offered[index] += len;
                left[index] = len;
            }
            for _ in 0..polls {
                let waiting = !schedule.is_empty();
                prop_assert_eq!(take(&mut schedule, &mut left), waiting);
            }
        }
        while take(&mut schedule, &mut left) {}
        prop_assert!(schedule.is_empty());
        prop_assert_eq!(sent, offered);
    }
}
