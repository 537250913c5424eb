//! The two ends, the connections between them, and everything that can happen to these.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::contest::{Action, ConnectionId, Contest, Own, Part};

pub(super) const A: usize = 0;
/// The end whose dials go first.
pub(super) const B: usize = 1;

/// What travels on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Message {
    Hello,
    Use,
    Close,
}

/// A connection as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wire {
    pub(super) dialler: usize,
    /// On their way to each end.
    pub(super) to: [VecDeque<Message>; 2],
    /// Ends that do not know, or do not care, any more.
    pub(super) left: [bool; 2],
    pub(super) cut: bool,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// An end's dial succeeds.
    Made(usize),
    /// A message arrives at an end.
    Arrives(u64, usize),
    /// An end notices that a connection is dead.
    Noticed(u64, usize),
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) ends: [Contest; 2],
    pub(super) dialling: [bool; 2],
    pub(super) wires: BTreeMap<u64, Wire>,
    pub(super) made: u64,
    pub(super) starts: [u32; 2],
}

impl World {
    /// `dials`: which of A and B can reach the other.
    pub(super) fn new(dials: [bool; 2]) -> Self {
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

    pub(super) fn events(&self) -> Vec<Event> {
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

    pub(super) fn happen(&mut self, event: Event) {
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

    pub(super) fn arrive(&mut self, id: u64, side: usize) {
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

    pub(super) fn lose(&mut self, id: u64, side: usize) {
        self.wires.get_mut(&id).unwrap().left[side] = true;
        self.ends[side].handle_lost(ConnectionId(id));
        self.obey(side);
    }

    pub(super) fn obey(&mut self, side: usize) {
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

    pub(super) fn send(&mut self, id: ConnectionId, side: usize, message: Message) {
        if let Some(wire) = self.wires.get_mut(&id.0) {
            wire.to[1 - side].push_back(message);
        }
    }

    pub(super) fn leave(&mut self, id: ConnectionId, side: usize) {
        if let Some(wire) = self.wires.get_mut(&id.0) {
            wire.left[side] = true;
        }
    }

    /// What was on the way is gone; each end notices in its own time.
    pub(super) fn cut(&mut self, id: u64) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.cut = true;
        }
    }

    /// The process of an end dies without a word and comes back.
    pub(super) fn restart(&mut self, side: usize) {
        for wire in self.wires.values_mut() {
            wire.cut = true;
            wire.left[side] = true;
        }
        self.ends[side] = Contest::new(self.ends[side].part);
        self.dialling[side] = false;
        self.obey(side);
    }

    /// Both ends have one connection, the same, and want no other.
    pub(super) fn assert_stands(&self) {
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
    pub(super) fn settle(&mut self, choices: impl IntoIterator<Item = usize>) {
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

pub(super) type Seen = HashSet<String>;

/// Visits every order of events; returns the worlds at rest.
pub(super) fn explore(world: World, seen: &mut Seen, rest: &mut Vec<World>) {
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

pub(super) fn every_rest(world: World) -> Vec<World> {
    let mut rest = Vec::new();
    explore(world, &mut Seen::new(), &mut rest);
    assert!(!rest.is_empty());
    rest
}

/// A world in which the two stand.
pub(super) fn standing(dials: [bool; 2], first: usize) -> World {
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
