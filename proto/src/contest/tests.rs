//! Two ends and the network between them, in every order that events can come in.

mod world;

use proptest::prelude::*;

use self::world::{A, B, Event, World, every_rest, standing};
use super::*;

#[test]
fn both_dial_at_once_and_each_starts_one_session() {
    for world in every_rest(World::new([true, true])) {
        world.assert_stands();
        assert_eq!(world.starts, [1, 1], "it flapped: {world:?}");
    }
}

#[test]
fn the_only_direction_that_works_is_kept() {
    for dials in [[true, false], [false, true]] {
        for world in every_rest(World::new(dials)) {
            world.assert_stands();
            assert_eq!((world.starts, world.made), ([1, 1], 1));
        }
    }
}

#[test]
fn where_both_have_asked_the_one_that_goes_first_wins() {
    let mut world = World::new([true, true]);
    world.happen(Event::Made(A));
    world.happen(Event::Made(B));
    for world in every_rest(world) {
        world.assert_stands();
        assert_eq!(world.ends[A].standing, Some(ConnectionId(2)), "B made it");
    }
}

#[test]
fn a_dial_that_comes_too_late_leaves_what_stands() {
    // A's Hello is on its way while B's connection is taken.
    let mut world = World::new([true, true]);
    world.happen(Event::Made(B));
    world.happen(Event::Made(A));
    world.happen(Event::Arrives(1, A));
    assert_eq!(world.ends[A].standing(), Some(ConnectionId(1)));
    for world in every_rest(world) {
        world.assert_stands();
        assert_eq!(world.starts, [1, 1], "{world:?}");
    }
}

#[test]
fn whoever_notices_a_dead_connection_first_brings_the_link_back() {
    for (dials, first) in [
        ([true, true], A),
        ([true, true], B),
        ([true, false], A),
        ([false, true], B),
    ] {
        let mut world = standing(dials, first);
        world.cut(1);
        for world in every_rest(world) {
            world.assert_stands();
        }
    }
}

#[test]
fn a_peer_that_restarted_is_taken_back_without_waiting_for_silence() {
    for (dials, dead) in [([true, true], A), ([true, true], B), ([true, false], A)] {
        let mut world = standing(dials, if dials[B] { B } else { A });
        world.restart(dead);
        // The other end never notices by itself.
        while let Some(event) = world
            .events()
            .into_iter()
            .find(|event| !matches!(event, Event::Noticed(..)))
        {
            world.happen(event);
        }
        world.assert_stands();
    }
}

#[test]
fn a_caller_that_does_not_go_on_takes_nothing_away() {
    let mut end = Contest::new(Part {
        dials: false,
        goes_first: false,
    });
    let drain =
        |end: &mut Contest| -> Vec<Action> { std::iter::from_fn(|| end.poll_action()).collect() };
    let [first, second, third] = [1, 2, 3].map(ConnectionId);
    end.handle_call(first);
    assert_eq!(
        drain(&mut end),
        [Action::Greet(first), Action::Start(first)]
    );
    end.handle_call(second);
    assert_eq!(drain(&mut end), [Action::Greet(second)]);
    end.handle_call(third); // the newest caller is tried, one at a time
    assert_eq!(
        drain(&mut end),
        [Action::Refuse(second), Action::Greet(third)]
    );
    end.handle_use(second);
    end.handle_lost(third);
    assert_eq!((drain(&mut end), end.standing()), (vec![], Some(first)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Cuts and restarts at any time, in any order; when they end, the link stands.
    #[test]
    fn the_link_stands_once_faults_end(
        dials in prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])],
        steps in prop::collection::vec((0..20_u8, any::<usize>()), 0..80),
    ) {
        let mut world = World::new(dials);
        for (kind, choice) in steps {
            match kind {
                0 => world.restart(choice % 2),
                1 | 2 => {
                    if let Some(id) = world.wires.keys().nth(choice % 4).copied() {
                        world.cut(id);
                    }
                }
                _ => {
                    let events = world.events();
                    if !events.is_empty() {
                        world.happen(events[choice % events.len()]);
                    }
                }
            }
            world.wires.retain(|_, wire| wire.left != [true; 2]);
        }
        world.settle([]);
        world.assert_stands();
    }
}
