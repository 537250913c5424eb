//! Two ends and the network between them, in every order that events can come in.

use std::collections::{BTreeMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::*;

const A: usize = 0;
/// The end whose dials go first.
const B: usize = 1;

/// What travels on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Message {
    Hello,
    Use,
    Close,
}

/// A connection as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Wire {
    dialler: usize,
    /// On their way to each end.
    to: [VecDeque<Message>; 2],
    /// Ends that do not know, or do not care, any more.
    left: [bool; 2],
    cut: bool,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// An end's dial succeeds.
    Made(usize),
    /// A message arrives at an end.
    Arrives(u64, usize),
    /// An end notices that a connection is dead.
    Noticed(u64, usize),
}

#[derive(Debug, Clone)]
struct World {
    ends: [Contest; 2],
    dialling: [bool; 2],
    wires: BTreeMap<u64, Wire>,
    made: u64,
    starts: [u32; 2],
}

impl World {
    /// `dials`: which of A and B can reach the other.
    fn new(dials: [bool; 2]) -> Self {
        let end = |side: usize| {
            Contest::new(Part {
                dials: dials[side],
                goes_first: side == B,
            })
        };
        let mut world = Self {
            ends: [end(A), end(B)],
            dialling: [false; 2],
            wires: BTreeMap::new(),
            made: 0,
            starts: [0; 2],
        };
        world.obey(A);
        world.obey(B);
        world
    }

    fn events(&self) -> Vec<Event> {
        let made = [A, B].into_iter().filter(|side| self.dialling[*side]);
        let mut events: Vec<_> = made.map(Event::Made).collect();
        for (id, wire) in &self.wires {
            for side in [A, B] {
                if wire.cut && !wire.left[side] {
                    events.push(Event::Noticed(*id, side));
                } else if !wire.cut && !wire.to[side].is_empty() {
                    events.push(Event::Arrives(*id, side));
                }
            }
        }
        events
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Made(side) => {
                self.dialling[side] = false;
                self.made += 1;
                let wire = Wire {
                    dialler: side,
                    to: Default::default(),
                    left: [false; 2],
                    cut: false,
                };
                self.wires.insert(self.made, wire);
                self.ends[side].handle_dialled(ConnectionId(self.made));
                self.obey(side);
            }
            Event::Arrives(id, side) => self.arrive(id, side),
            Event::Noticed(id, side) => self.lose(id, side),
        }
        self.wires.retain(|_, wire| wire.left != [true; 2]);
    }

    fn arrive(&mut self, id: u64, side: usize) {
        let wire = self.wires.get_mut(&id).unwrap();
        let message = wire.to[side].pop_front().unwrap();
        if wire.left[side] {
            return;
        }
        let calls = wire.dialler != side;
        let end = &mut self.ends[side];
        match message {
            Message::Hello if calls => end.handle_call(ConnectionId(id)),
            Message::Hello => end.handle_answer(ConnectionId(id)),
            Message::Use => end.handle_use(ConnectionId(id)),
            Message::Close => return self.lose(id, side),
        }
        self.obey(side);
    }

    fn lose(&mut self, id: u64, side: usize) {
        self.wires.get_mut(&id).unwrap().left[side] = true;
        self.ends[side].handle_lost(ConnectionId(id));
        self.obey(side);
    }

    fn obey(&mut self, side: usize) {
        while let Some(action) = self.ends[side].poll_action() {
            match action {
                Action::Dial => self.dialling[side] = true,
                Action::StopDialling => self.dialling[side] = false,
                Action::Greet(id) => self.send(id, side, Message::Hello),
                Action::Start(id) => {
                    self.starts[side] += 1;
                    self.send(id, side, Message::Use);
                }
                Action::Stop(id) => {
                    self.send(id, side, Message::Close);
                    self.leave(id, side);
                    self.ends[side].handle_lost(id);
                }
                Action::Refuse(id) => {
                    self.send(id, side, Message::Close);
                    self.leave(id, side);
                }
            }
        }
    }

    fn send(&mut self, id: ConnectionId, side: usize, message: Message) {
        if let Some(wire) = self.wires.get_mut(&id.0) {
            wire.to[1 - side].push_back(message);
        }
    }

    fn leave(&mut self, id: ConnectionId, side: usize) {
        if let Some(wire) = self.wires.get_mut(&id.0) {
            wire.left[side] = true;
        }
    }

    /// What was on the way is gone; each end notices in its own time.
    fn cut(&mut self, id: u64) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.cut = true;
        }
    }

    /// The process of an end dies without a word and comes back.
    fn restart(&mut self, side: usize) {
        for wire in self.wires.values_mut() {
            wire.cut = true;
            wire.left[side] = true;
        }
        self.ends[side] = Contest::new(self.ends[side].part);
        self.dialling[side] = false;
        self.obey(side);
    }

    /// Both ends have one connection, the same, and want no other.
    fn assert_stands(&self) {
        let [a, b] = &self.ends;
        assert!(a.standing.is_some(), "{self:?}");
        assert_eq!(a.standing, b.standing, "{self:?}");
        for end in &self.ends {
            assert_eq!((end.own, end.caller), (Own::Idle, None), "{self:?}");
        }
        assert_eq!(self.dialling, [false; 2], "{self:?}");
        assert_eq!(self.wires.len(), 1, "{self:?}");
    }

    /// Everything happens, in the order of `choices`, and after those in one that forgets nothing.
    fn settle(&mut self, choices: impl IntoIterator<Item = usize>) {
        let mut choices = choices.into_iter();
        for step in 0..1_000 {
            let events = self.events();
            if events.is_empty() {
                return;
            }
            let choice = choices.next().unwrap_or(step);
            self.happen(events[choice % events.len()]);
        }
        panic!("it never comes to rest: {self:?}");
    }
}

type Seen = HashSet<String>;

/// Visits every order of events; returns the worlds at rest.
fn explore(world: World, seen: &mut Seen, rest: &mut Vec<World>) {
    if !seen.insert(format!("{world:?}")) {
        return;
    }
    let events = world.events();
    if events.is_empty() {
        return rest.push(world);
    }
    assert!(world.made < 8, "dials without end: {world:?}");
    for event in events {
        let mut next = world.clone();
        next.happen(event);
        explore(next, seen, rest);
    }
}

fn every_rest(world: World) -> Vec<World> {
    let mut rest = Vec::new();
    explore(world, &mut Seen::new(), &mut rest);
    assert!(!rest.is_empty());
    rest
}

/// A world in which the two stand.
fn standing(dials: [bool; 2], first: usize) -> World {
    let mut world = World::new(dials);
    world.happen(Event::Made(first));
    while let Some(event) = world
        .events()
        .into_iter()
        .find(|e| !matches!(e, Event::Made(_)))
    {
        world.happen(event);
    }
    world.assert_stands();
    world
}

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
